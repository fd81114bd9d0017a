import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createRuntime, LanguageModel } from 'routed-attention'
import { createHandler } from 'routed-attention/server'
import novels from 'routed-attention-novels-10m-v2-int8'

/** Megabytes for which Lambda gives the time of one processor, so many of which are worth a thread each. */
const MEGABYTES_OF_PROCESSOR = 1769

const threads = Math.max(1, Math.floor(Number(process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE ?? 0) / MEGABYTES_OF_PROCESSOR))
const apiKeys = (process.env.API_KEYS ?? '').split(',').filter((key) => key !== '')
if (apiKeys.length === 0) throw new Error('set API_KEYS to keys that requests must show, separated by commas')

/** The model, loaded while the function starts, and kept for the requests that come to this process after the first. */
const model = await LanguageModel.load(novels, { runtime: await createRuntime({ threads }) })
const answer = createHandler(model, { apiKeys })

/** Answers an event of a function URL, and streams. */
export const handler = awslambda.streamifyResponse(async (event, stream) => {
  const { status, headers, body } = event.rawPath.startsWith('/v1/conversations') ? noConversations() : await answer(requestOf(event))
  const out = awslambda.HttpResponseStream.from(stream, { statusCode: status, headers: Object.fromEntries(headers) })
  await pipeline(body ? Readable.fromWeb(body) : Readable.from(['']), out)
})

/** The request that an event stands for. */
function requestOf({ rawPath, rawQueryString, headers, requestContext, body, isBase64Encoded }) {
  const url = `https://${requestContext.domainName}${rawPath}${rawQueryString === '' ? '' : `?${rawQueryString}`}`
  const content = body === undefined ? {} : { body: Buffer.from(body, isBase64Encoded ? 'base64' : 'utf8') }
  return new Request(url, { method: requestContext.http.method, headers, ...content })
}

/** A turn goes on after the request that took it, and here the process stands still then. */
function noConversations() {
  return Response.json({ error: { message: 'there are no conversations here', type: 'invalid_request_error' } }, { status: 404 })
}
