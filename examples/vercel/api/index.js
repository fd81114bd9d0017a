import { createRuntime, LanguageModel } from 'routed-attention'
import { createHandler } from 'routed-attention/server'
import novels from 'routed-attention-novels-10m-v2-int8'

const apiKeys = (process.env.API_KEYS ?? '').split(',').filter((key) => key !== '')
if (apiKeys.length === 0) throw new Error('set API_KEYS to keys that requests must show, separated by commas')

/** The model, loaded while the function starts, and kept for the requests that come to this process after the first. */
const model = await LanguageModel.load(novels, { runtime: await createRuntime({ threads: 1 }) })
const handler = createHandler(model, { apiKeys })

export default {
  fetch(request) {
    // a turn goes on after the request that took it, and here the process may stand still then
    const isConversation = new URL(request.url).pathname.startsWith('/v1/conversations')
    return isConversation ? new Response(null, { status: 404 }) : handler(request)
  },
}
