// @ts-check

/** A client of the service. */
export class Client {
  #address

  /** @param {() => string} address */
  constructor(address) {
    this.#address = address
  }

  /**
   * @param {string} method @param {string} path @param {object} [body] @param {Record<string, string>} [headers]
   * @returns {Promise<{ status: number, text: string, json: any }>}
   */
  async send(method, path, body, headers = {}) {
    const type = body === undefined ? {} : { 'content-type': 'application/json' }
    // a connection that was idle may be closed by the engine in the moment in which it is used again
    const sent = { connection: 'close', ...type, ...headers }
    const init = { method, headers: sent, ...(body !== undefined && { body: JSON.stringify(body) }) }
    const response = await fetch(new URL(path, this.#address()), init)
    const text = await response.text()
    const isJson = response.headers.get('content-type')?.startsWith('application/json')
    return { status: response.status, text, json: isJson ? JSON.parse(text) : undefined }
  }

  /** Begins a conversation. @param {object} [body] @returns {Promise<string>} its path */
  async create(body = {}) {
    const { status, text, json } = await this.send('POST', '/v1/conversations', body)
    if (status !== 201) throw new Error(`a conversation was answered with ${status}: ${text}`)
    return `/v1/conversations/${json.id}`
  }

  /** Takes a turn and reads its answer. @param {string} path @param {object} body @returns {Promise<number[]>} its tokens */
  async turn(path, body) {
    const { status, text, json } = await this.send('POST', `${path}/turns`, { temperature: 0, ignore_eos: true, ...body })
    if (status !== 201) throw new Error(`a turn was answered with ${status}: ${text}`)
    return tokensOf((await this.send('GET', json.events)).text)
  }

  /** What a test may ask of the object that holds a conversation. @param {string} what @param {string} path */
  async object(what, path) {
    const hex = Buffer.from(path.slice('/v1/conversations/conv_'.length), 'base64url').toString('hex')
    return (await this.send('GET', `/test/${what}/${hex}`)).json
  }
}

/** @param {string} events */
export function tokensOf(events) {
  return [...events.matchAll(/^data: (.*)$/gm)].flatMap(([, data]) => JSON.parse(String(data)).token ?? [])
}
