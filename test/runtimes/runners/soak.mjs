import { join } from 'node:path'
import { installTools, node, root } from '../lib/paths.mjs'
import { execute } from '../lib/processes.mjs'

const node24 = node(24)

/** The soak test, short, in a Node that has SQLite. */
export const soak = [
  {
    id: 'soak',
    name: 'The soak test of serve, short, in Node 24',
    missing: node24 ? undefined : installTools,
    async run() {
      const options = ['--requests', '400', '--connections', '30', '--kills', '2', '--minutes', '9']
      const name = 'no text is wrong, and no turn is lost or doubled, while the server is killed twice'
      return execute(String(node24), [join(root, 'test/soak/run.mjs'), ...options]).then(
        () => ({ results: [{ name }] }),
        (error) => ({ results: [{ name, error: String(error) }] }),
      )
    },
  },
]
