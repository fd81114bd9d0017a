// @ts-check
import { createServer } from 'node:http'
import { arrayBuffer as readBytes, text as readText } from 'node:stream/consumers'
import { parseArgs } from 'node:util'
import { LanguageModel, RoutedAttentionError } from 'routed-attention'
import { SignedSessions } from './signed-sessions.mjs'
import { StoredSessions } from './stored-sessions.mjs'

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'models/novels-10m-v2-int8' },
    sessions: { type: 'string', default: 'sessions' },
    port: { type: 'string', default: '8080' },
  },
})
const model = await LanguageModel.load(values.model)
const sessions = new StoredSessions(model, values.sessions)
// the default secret is random: sessions signed by one run of the server are then rejected by the next
const { SESSION_SECRET: secret } = process.env
const signatures = await SignedSessions.create(secret ? new TextEncoder().encode(secret) : crypto.getRandomValues(new Uint8Array(32)))
const shutdown = new AbortController()

const server = createServer((request, response) => {
  handle(request, response).catch((error) => fail(response, error))
})
server.listen(Number(values.port), '127.0.0.1', () => {
  const address = /** @type {import('node:net').AddressInfo} */ (server.address())
  console.log(`listening on port ${address.port}`)
})
process.once('SIGTERM', () => {
  // ends pending answers and saves their sessions; then the process exits
  shutdown.abort(new RequestError(503, 'the server is going down'))
  server.close(() => model.dispose())
})

/** A response with a status other than 200. */
class RequestError extends Error {
  /**
   * @param {number} status
   * @param {string} message
   */
  constructor(status, message) {
    super(message)
    this.status = status
  }
}

/**
 * @param {import('node:http').IncomingMessage} request
 * @param {import('node:http').ServerResponse} response
 */
async function handle(request, response) {
  const [, name, bytes] = /^\/sessions\/([A-Za-z0-9_-]{1,64})(\/bytes)?$/.exec(request.url ?? '') ?? []
  if (name === undefined)
    throw new RequestError(404, 'there are only /sessions/NAME and /sessions/NAME/bytes; a name has up to 64 letters, digits, - and _')
  if (bytes) return carry(name, request, response)
  if (request.method === 'POST') return stream(name, await readRequest(request), response)
  if (request.method !== 'DELETE') throw new RequestError(405, 'POST a text to continue, or DELETE the session')
  await sessions.delete(name)
  response.writeHead(204).end()
}

/**
 * Exports a session as signed bytes, and imports those that were signed for its name.
 * @param {string} name
 * @param {import('node:http').IncomingMessage} request
 * @param {import('node:http').ServerResponse} response
 */
async function carry(name, request, response) {
  if (request.method === 'GET') {
    const bytes = await sessions.read(name)
    if (!bytes) throw new RequestError(404, `there is no session ${name}`)
    const signed = await signatures.sign(name, bytes)
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'cache-control': 'no-store' }).end(signed)
    return
  }
  if (request.method !== 'PUT') throw new RequestError(405, 'GET the bytes of a session, or PUT them back')
  checkLength(request, 64e6)
  const bytes = await signatures.verify(name, new Uint8Array(await readBytes(request)))
  if (!bytes) throw new RequestError(403, 'these are not bytes that this server signed for this session')
  await sessions.write(name, bytes)
  response.writeHead(204).end()
}

/**
 * Appends a text to the session and streams the model's continuation.
 * @param {string} name
 * @param {{ text: string, maxTokens: number, temperature: number }} question
 * @param {import('node:http').ServerResponse} response
 */
async function stream(name, { text, ...options }, response) {
  const gone = new AbortController()
  response.on('close', () => gone.abort(new RequestError(499, 'the client has gone')))
  const signal = AbortSignal.any([gone.signal, shutdown.signal])
  await sessions.use(name, async (session) => {
    for await (const piece of session.generate(text || null, { ...options, signal })) {
      if (!response.headersSent) response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
      // a character may take several tokens, of which only the last yields text
      if (piece.text) send(response, 'text', { text: piece.text })
    }
    send(response, 'end', { position: session.position })
  })
  response.end()
}

/**
 * @param {import('node:http').ServerResponse} response
 * @param {string} event
 * @param {object} data
 */
function send(response, event, data) {
  response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`)
}

/**
 * @param {import('node:http').IncomingMessage} request
 * @param {number} most bytes
 */
function checkLength(request, most) {
  if (Number(request.headers['content-length'] ?? Infinity) > most)
    throw new RequestError(413, `a request has up to ${most.toLocaleString('en')} bytes, and tells how many`)
}

/** @param {import('node:http').IncomingMessage} request */
async function readRequest(request) {
  checkLength(request, 1e6)
  let question
  try {
    question = JSON.parse(await readText(request))
  } catch {
    throw new RequestError(400, 'the request is not JSON')
  }
  const { text, maxTokens = 64, temperature = 0.8 } = question ?? {}
  if (typeof text !== 'string') throw new RequestError(400, 'text must be a string')
  if (!Number.isInteger(maxTokens) || maxTokens < 1 || maxTokens > 1024)
    throw new RequestError(400, 'maxTokens must be an integer from 1 to 1024')
  if (!(typeof temperature === 'number' && temperature >= 0)) throw new RequestError(400, 'temperature must be a number from 0')
  return { text, maxTokens, temperature }
}

/**
 * @param {import('node:http').ServerResponse} response
 * @param {unknown} error
 */
function fail(response, error) {
  const status =
    error instanceof RequestError
      ? error.status
      : error instanceof RoutedAttentionError && ['BAD_ARGUMENT', 'BAD_FILE'].includes(error.code)
        ? 400
        : 500
  if (status === 500) console.error(error)
  const message = status === 500 ? 'the server failed' : error instanceof Error ? error.message : ''
  if (!response.headersSent) response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ error: message }))
  else {
    send(response, 'error', { error: message })
    response.end()
  }
}
