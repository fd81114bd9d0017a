/* In an edge worker that was bundled without the `workerd` condition: answers with what createRuntime says. */
import { createRuntime } from 'routed-attention'

export default {
  async fetch() {
    return createRuntime().then(
      () => new Response('a runtime'),
      (error) => new Response(`${error.code} ${error.message}`),
    )
  },
}
