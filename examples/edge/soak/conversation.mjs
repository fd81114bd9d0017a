// @ts-check
import { request } from 'node:http'
import { ANSWER } from './script.mjs'

/**
 * @typedef {object} Load
 * @property {() => string} address
 * @property {() => number} random
 * @property {(what: string) => void} count
 * @property {(violation: string) => void} report
 * @property {() => Promise<void>} ready resolves once the process has been started again
 */

/** What may befall a turn. @type {readonly string[]} */
export const FAULTS = [
  'the object is evicted before',
  'the object is killed in the middle',
  'the client vanishes in the middle',
  'the client vanishes, and the next turn finds the answer begun',
  'the client vanishes while it asks',
  'the key is repeated',
  'the key comes with another body',
  'two follow at once',
  'the body is too large',
  'foreign bytes',
  'an id of another',
]

/** How long something is tried again that a kill or a full memory has prevented, in milliseconds. */
const PATIENCE = 300_000

/** Milliseconds without a byte after which a request counts as lost. */
const SILENCE = 120_000

/** A conversation whose client does not trust what it is told. */
export class SoakConversation {
  /** The words of the turns that were taken. @type {string[]} */
  asked = []
  isBusy = false
  #load
  #path = ''

  /** @param {Load} load @param {number} number */
  constructor(load, number) {
    this.#load = load
    this.number = number
  }

  /** Takes a turn and reads its answer. @param {string} prompt @param {string} [fault] */
  async turn(prompt, fault = '') {
    this.isBusy = true
    try {
      if (!this.#path) await this.#create()
      await this.#befall(fault)
      await this.#take(prompt, fault)
      this.#load.count(fault || 'turns without a fault')
    } finally {
      this.isBusy = false
    }
  }

  /** All turns, as they are stored. */
  async transcript() {
    const turns = []
    const { text } = await this.#persist('GET', `${this.#path}/events`)
    for (const { event, data } of eventsOf(text)) {
      if (event === 'prompt') turns.push({ prompt: data.prompt, tokens: [] })
      else if (data.token !== undefined) turns.at(-1)?.tokens.push(data.token)
    }
    return turns
  }

  async #create() {
    const { status, text } = await this.#persist('POST', '/v1/conversations', '{}')
    if (status !== 201) throw new Error(`a conversation was answered with ${status}: ${text}`)
    this.#path = `/v1/conversations/${JSON.parse(text).id}`
  }

  /** @param {string} prompt @param {string} fault */
  async #take(prompt, fault) {
    const key = `turn ${this.asked.length}`
    const body = JSON.stringify({ prompt, max_tokens: ANSWER, temperature: 0, ignore_eos: true })
    const post = (/** @type {string} */ given) => this.#persist('POST', `${this.#path}/turns`, given, { 'idempotency-key': key })
    if (fault === 'the client vanishes while it asks')
      await this.#send('POST', `${this.#path}/turns`, body, { 'idempotency-key': key }, 0).catch(() => {})
    const answer = await post(body)
    if (answer.status !== 201 && answer.status !== 200) throw new Error(`a turn was answered with ${answer.status}: ${answer.text}`)
    const { turn, events } = JSON.parse(answer.text)
    if (turn !== this.asked.length) this.#load.report(`the turn is number ${turn}, after ${this.asked.length} others`)
    this.asked.push(prompt)
    if (fault === 'the key is repeated') {
      const again = await post(body)
      if (again.status !== 200 || JSON.parse(again.text).turn !== turn)
        this.#load.report(`a key that was repeated gave ${again.status}: ${again.text}`)
    }
    if (fault === 'the key comes with another body') {
      const other = await post(JSON.stringify({ prompt: `${prompt}!` }))
      if (other.status !== 409) this.#load.report(`another body of the same key was answered with ${other.status}`)
    }
    await this.#follow(events, fault)
  }

  /** @param {string} events @param {string} fault */
  async #follow(events, fault) {
    if (fault.startsWith('the client vanishes'))
      await this.#send('GET', events, undefined, {}, 1 + Math.floor(this.#load.random() * ANSWER)).catch(() => {})
    if (fault === 'the client vanishes, and the next turn finds the answer begun') return
    if (fault === 'the object is killed in the middle') {
      const following = this.#send('GET', events).catch(() => {})
      await new Promise((resolve) => setTimeout(resolve, this.#load.random() * 30))
      await this.#abort()
      await following
    }
    const other = fault === 'two follow at once' ? this.#persist('GET', events) : undefined
    const { text } = await this.#persist('GET', events)
    // comments, while nothing can be told, are no events
    const told = (/** @type {string} */ given) => JSON.stringify(eventsOf(given))
    if (other && told((await other).text) !== told(text)) this.#load.report('two that follow one turn were told different things')
    const tokens = eventsOf(text).flatMap(({ data }) => data.token ?? [])
    if (tokens.length !== ANSWER) this.#load.report(`an answer has ${tokens.length} tokens of ${ANSWER}`)
  }

  /** What happens before a turn. @param {string} fault */
  async #befall(fault) {
    const turns = `${this.#path}/turns`
    const refused = async (/** @type {number} */ status, /** @type {ReturnType<SoakConversation['persist']>} */ answer) => {
      const given = await answer
      if (given.status !== status) this.#load.report(`${fault}: answered with ${given.status} instead of ${status}`)
    }
    if (fault === 'the object is evicted before') await this.#abort()
    if (fault === 'the body is too large') await refused(413, this.#persist('POST', turns, JSON.stringify({ prompt: 'x'.repeat(2 ** 20) })))
    if (fault === 'foreign bytes') {
      const bytes = Buffer.from(Array.from({ length: 200 }, () => Math.floor(this.#load.random() * 256)))
      await refused(400, this.#persist('POST', turns, bytes))
      await refused(400, this.#persist('POST', turns, '{"prompt":[99999999]}'))
      await refused(415, this.#persist('POST', turns, '{}', { 'content-type': 'text/plain' }))
    }
    if (fault === 'an id of another') {
      await refused(404, this.#persist('GET', `/v1/conversations/conv_${'A'.repeat(43)}/events`))
      await refused(404, this.#persist('POST', '/v1/conversations/other/turns', '{"prompt":"x"}'))
    }
  }

  /** Ends the object, as an eviction or a fault of the machine does. */
  async #abort() {
    const hex = Buffer.from(this.#path.slice('/v1/conversations/conv_'.length), 'base64url').toString('hex')
    await this.#send('GET', `/test/abort/${hex}`).catch(() => {})
  }

  /** Sends something until it is answered to its end. */
  get persist() {
    return this.#persist
  }

  /**
   * @param {string} method @param {string} path @param {string | Buffer} [body] @param {Record<string, string>} [headers]
   * @returns {Promise<{ status: number, text: string }>}
   */
  async #persist(method, path, body, headers) {
    const end = performance.now() + PATIENCE
    for (;;) {
      try {
        const answer = await this.#send(method, path, body, headers)
        const isBusy = answer.status === 503 || (answer.status === 409 && /is being answered/.test(answer.text))
        const brokeOff = answer.status === 200 && /"error":/.test(answer.text)
        // an object that was killed, in Miniflare's own words
        const isKilled = answer.status === 500 && !/"code"/.test(answer.text)
        if (!isBusy && !brokeOff && !isKilled) return answer
        this.#load.count(isBusy ? `answered ${answer.status}, and asked again` : 'broken off, and asked again')
        if (performance.now() > end) throw new Error(`answered ${answer.status} again and again: ${answer.text}`)
      } catch (error) {
        if (performance.now() > end) throw error
        this.#load.count('not answered, and asked again')
      }
      await new Promise((resolve) => setTimeout(resolve, 100))
      await this.#load.ready()
    }
  }

  /**
   * Sends a request.
   * @param {string} method @param {string} path @param {string | Buffer} [body] @param {Record<string, string>} [headers]
   * @param {number} [leaveAfter] events of the answer after which the client vanishes; 0: once it has sent everything
   * @returns {Promise<{ status: number, text: string }>}
   */
  #send(method, path, body, headers = {}, leaveAfter) {
    return new Promise((resolve, reject) => {
      const type = body === undefined ? {} : { 'content-type': 'application/json' }
      const sent = request(new URL(path, this.#load.address()), {
        method,
        headers: { ...type, ...headers },
        agent: false,
        timeout: SILENCE,
      })
      const left = () => {
        sent.destroy()
        resolve({ status: 0, text: '' })
      }
      sent.on('error', reject)
      sent.on('timeout', () => sent.destroy(new Error(`${method} ${path} was not answered for ${SILENCE} ms`)))
      sent.on('response', (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (part) => {
          text += part
          if (leaveAfter !== undefined && text.split('\n\n').length > leaveAfter) left()
        })
        response.on('error', reject)
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
        response.on('aborted', () => reject(new Error('the answer broke off')))
      })
      sent.end(body, () => leaveAfter === 0 && setTimeout(left, 5))
    })
  }
}

/** @param {string} text @returns {{ event: string, data: any }[]} */
function eventsOf(text) {
  return text
    .split('\n\n')
    .filter((block) => block !== '' && !block.startsWith(':'))
    .map((block) => {
      const lines = Object.fromEntries(
        block.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]),
      )
      return { event: lines['event'] ?? 'message', data: JSON.parse(lines['data'] ?? '{}') }
    })
}
