import { Agent, request } from 'node:http'

/**
 * An answer: its body is read by `text` or `events`, or not at all.
 * @typedef {{ status: number, headers: import('node:http').IncomingHttpHeaders, body: import('node:http').IncomingMessage,
 *   text: () => Promise<string> }} Answer
 */

/** Milliseconds without a byte after which a server counts as hanging. */
const SILENCE = 300_000

/** The server is gone: it was killed, or is being started. */
export class Unreachable extends Error {}

/** A connection of one client, which sends one request at a time. */
export class Connection {
  #port
  #agent = new Agent({ keepAlive: true, maxSockets: 1 })

  /** @param {number} port */
  constructor(port) {
    this.#port = port
  }

  /**
   * @param {string} method @param {string} path @param {string | object} [body] a text is sent as it is
   * @param {Record<string, string>} [headers]
   * @returns {Promise<Answer>}
   * @throws Unreachable
   */
  send(method, path, body, headers = {}) {
    const bytes = body === undefined ? undefined : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body))
    const described = bytes ? { 'content-type': 'application/json', 'content-length': String(bytes.length) } : {}
    return new Promise((resolve, reject) => {
      const sending = request({
        host: '127.0.0.1',
        port: this.#port,
        method,
        path,
        agent: this.#agent,
        headers: { ...described, ...headers },
        timeout: SILENCE,
      })
      sending.on('timeout', () => reject(new Error(`${method} ${path} was not answered for ${SILENCE} ms`)))
      sending.on('error', (error) => reject(new Unreachable(error.message)))
      sending.on('response', (message) => {
        message.on('error', () => {}) // whoever reads it sees the error as well
        const text = async () => {
          let read = ''
          for await (const chunk of chunksOf(message)) read += chunk
          return read
        }
        resolve({ status: message.statusCode ?? 0, headers: message.headers, body: message, text })
      })
      sending.end(bytes)
    })
  }

  /** Sends the beginning of a request and leaves. @param {string} path @returns {Promise<void>} */
  vanish(path) {
    return new Promise((resolve) => {
      const headers = { 'content-type': 'application/json', 'content-length': '1000' }
      const sending = request({ host: '127.0.0.1', port: this.#port, method: 'POST', path, headers })
      sending.on('error', () => resolve())
      sending.on('close', () => resolve())
      sending.write('{"prompt": "The old')
      setTimeout(() => sending.destroy(), 5)
    })
  }

  close() {
    this.#agent.destroy()
  }
}

/** @param {import('node:http').IncomingMessage} message @returns {AsyncGenerator<string>} */
async function* chunksOf(message) {
  message.setEncoding('utf8')
  try {
    for await (const chunk of message) yield chunk
  } catch (error) {
    throw new Unreachable(String(error))
  }
  if (!message.complete) throw new Unreachable('the answer broke off')
}

/**
 * The server-sent events of an answer. Ending the loop early destroys the connection.
 * @param {Answer} answer
 * @returns {AsyncGenerator<{ id: string, event: string, data: any }>}
 */
export async function* eventsOf({ body }) {
  let rest = ''
  for await (const chunk of chunksOf(body)) {
    const blocks = (rest + chunk).split('\n\n')
    rest = blocks.pop() ?? ''
    for (const block of blocks) {
      if (block.startsWith(':')) continue
      const fields = Object.fromEntries(
        block.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]),
      )
      yield {
        id: fields.id ?? '',
        event: fields.event ?? 'message',
        data: fields.data === '[DONE]' ? null : JSON.parse(fields.data ?? 'null'),
      }
    }
  }
}
