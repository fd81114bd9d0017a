import { Connection, eventsOf, Unreachable } from './connection.mjs'
import { RUBBISH } from './rubbish.mjs'

/**
 * @typedef {import('./answers.mjs').Turn} Turn
 * @typedef {import('./connection.mjs').Answer} Answer
 *
 * What all clients share.
 * @typedef {object} Load
 * @property {number} port
 * @property {Turn[][]} scripts
 * @property {() => boolean} isOver
 * @property {(what: string) => void} count
 * @property {(violation: string) => void} report
 * @property {Map<string, { turns: Turn[] }>} held what conversations must have in the end, by address
 */

const wait = (/** @type {number} */ milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))
const newKey = () => crypto.randomUUID()

/** One client after another on one connection, each of some kind, until the load is over. */
export class Client {
  #load
  #connection
  #random

  /** @param {Load} load @param {() => number} random */
  constructor(load, random) {
    this.#load = load
    this.#connection = new Connection(load.port)
    this.#random = random
  }

  async run() {
    while (!this.#load.isOver()) {
      const kind = this.#random()
      if (kind < 0.6) await this.#converse()
      else if (kind < 0.75) await this.#complete()
      else await this.#sendRubbish()
    }
    this.#connection.close()
  }

  /**
   * Sends a request until there is an answer other than 503: after a while again if the server is not there.
   * @param {string} what for the count
   * @param {string} method @param {string} path @param {string | object} [body] @param {Record<string, string>} [headers]
   * @returns {Promise<Answer>}
   */
  async #send(what, method, path, body, headers) {
    for (let attempt = 1; ; attempt++) {
      try {
        const answer = await this.#connection.send(method, path, body, headers)
        if (answer.status !== 503) {
          this.#load.count(what)
          return answer
        }
        await answer.text()
        this.#load.count('answered 503')
        const after = Number(answer.headers['retry-after'])
        if (!(after >= 1)) this.#load.report(`${method} ${path}: 503 with retry-after ${answer.headers['retry-after']}`)
        await wait(1000 * Math.min(after, 3) * (0.5 + this.#random()))
      } catch (error) {
        if (!(error instanceof Unreachable) || attempt === 1000) throw error
        this.#load.count('not answered')
        await wait(100 + 200 * this.#random())
      }
    }
  }

  /** @param {Answer} answer @param {number[]} expected @param {string} what @returns {Promise<string>} */
  async #expect(answer, expected, what) {
    const text = await answer.text().catch((error) => String(error))
    if (!expected.includes(answer.status))
      this.#load.report(`${what} answered ${answer.status}, expected ${expected.join(' or ')}: ${text.slice(0, 300)}`)
    return text
  }

  /** A conversation, as clients of many kinds hold it. */
  async #converse() {
    const script = this.#load.scripts[Math.floor(this.#random() * this.#load.scripts.length)] ?? []
    const created = await this.#whole('create', 'POST', '/v1/conversations', {}, {}, [201])
    const { id } = JSON.parse(created)
    const address = `/v1/conversations/${id}`
    /** @type {{ turns: Turn[] }} */
    const held = { turns: [] }
    this.#load.held.set(address, held)
    let position = 0
    for (const turn of script) {
      const key = newKey()
      const body = { ...(turn.prompt && { prompt: turn.prompt }), max_tokens: turn.maxTokens, temperature: 0 }
      const headers = { 'idempotency-key': key }
      const taken = JSON.parse(await this.#whole('turn', 'POST', `${address}/turns`, body, headers, [200, 201]))
      held.turns.push(turn)
      position += turn.promptTokens
      if (taken.turn !== held.turns.length - 1 || taken.position !== position)
        this.#load.report(`turn ${held.turns.length - 1} at ${position} was taken as ${JSON.stringify(taken)}`)
      if (this.#random() < 0.3) {
        const again = JSON.parse(await this.#whole('turn, again', 'POST', `${address}/turns`, body, headers, [200]))
        if (again.turn !== taken.turn || again.events !== taken.events)
          this.#load.report(`a repeated key was answered ${JSON.stringify(again)}, and at first ${JSON.stringify(taken)}`)
      }
      if (this.#random() < 0.1) await this.#whole('key, other words', 'POST', `${address}/turns`, { ...body, seed: 1 }, headers, [409])
      if (this.#random() < 0.1) {
        // while a turn is being answered; it may have ended, and this one is taken then
        const { status, text } = await this.#answered(
          'second turn',
          'POST',
          `${address}/turns`,
          { max_tokens: 1, temperature: 0 },
          { 'idempotency-key': newKey() },
        )
        if (status === 201) return this.#forget(address)
        if (status !== 409) this.#load.report(`a second turn was answered ${status} ${text}`)
      }
      if (this.#random() < 0.1) return // leaves, and never comes back: the turn goes on
      await this.#follow(taken.events, turn, position)
      position += turn.ids.length
    }
    if (this.#random() < 0.4) await checkConversation(this.#connectionOf('replay'), address, held.turns, this.#load.report)
    if (this.#random() < 0.2) await this.#forget(address)
  }

  /** @param {string} what */
  #connectionOf(what) {
    return (/** @type {string} */ path) => this.#send(what, 'GET', path)
  }

  /** @param {string} address */
  async #forget(address) {
    this.#load.held.delete(address)
    // 404: it was deleted, but the answer got lost
    await this.#whole('delete', 'DELETE', address, undefined, {}, [204, 404])
    await this.#whole('deleted', 'GET', `${address}/events`, undefined, {}, [404])
  }

  /**
   * Follows an answer to its end, however often the connection breaks, and compares every token.
   * @param {string} path @param {Turn} turn @param {number} start
   */
  async #follow(path, turn, start) {
    let made = 0
    let text = ''
    let last = ''
    let isOver = false
    while (!isOver) {
      /** @type {Record<string, string>} */
      const headers = last === '' ? {} : { 'last-event-id': last }
      const answer = await this.#send(last === '' ? 'follow' : 'resume', 'GET', path, undefined, headers)
      if (answer.status !== 200) {
        await this.#expect(answer, [200], `events behind ${last || 'the beginning'}, of ${turn.ids.length} from ${start},`)
        return
      }
      const manner = this.#random()
      const leaveAfter = manner < 0.2 ? Math.floor(this.#random() * turn.ids.length) : Infinity
      let seen = 0
      try {
        for await (const { id, data } of eventsOf(answer)) {
          if (data.error) {
            // the server is going down
            if (data.error.type !== 'server_error') this.#load.report(`an answer ended with ${JSON.stringify(data.error)}`)
            this.#load.count('told of the end')
            await wait(200)
            break
          }
          if (id !== String(start + made + 1) || data.token !== turn.ids[made])
            this.#load.report(`event ${id} has token ${data.token}, expected ${start + made + 1} with ${turn.ids[made]}`)
          made++
          text += data.text
          last = id
          isOver = data.finish_reason !== null
          if (++seen > leaveAfter) {
            this.#load.count('left')
            break
          }
          if (manner > 0.95) await wait(50) // reads slowly
        }
      } catch (error) {
        if (!(error instanceof Unreachable)) throw error
        this.#load.count('broken off')
      }
    }
    if (text !== turn.text || made !== turn.ids.length)
      this.#load.report(`${JSON.stringify(turn.prompt)} was answered ${JSON.stringify(text)}, expected ${JSON.stringify(turn.text)}`)
  }

  /** A completion, read to its end or not. */
  async #complete() {
    const turn = this.#load.scripts[Math.floor(this.#random() * this.#load.scripts.length)]?.[0]
    if (!turn) return
    const stream = this.#random() < 0.5
    const body = { prompt: turn.prompt, max_tokens: turn.maxTokens, temperature: 0, stream }
    const answer = await this.#send('completion', 'POST', '/v1/completions', body)
    if (this.#random() < 0.2) {
      answer.body.destroy()
      this.#load.count('left')
      return
    }
    try {
      let text = ''
      let isWhole = !stream
      if (!stream || answer.status !== 200) text = JSON.parse(await this.#expect(answer, [200], 'a completion')).choices?.[0]?.text
      else
        for await (const { data } of eventsOf(answer)) {
          if (data?.error) return this.#load.count('told of the end')
          if (data === null) isWhole = true
          text += data?.choices[0]?.text ?? ''
        }
      if (isWhole && text !== turn.text)
        this.#load.report(`a completion was ${JSON.stringify(text)}, expected ${JSON.stringify(turn.text)}`)
    } catch (error) {
      // a completion that breaks off is lost
      if (!(error instanceof Unreachable) && !(error instanceof SyntaxError)) throw error
      this.#load.count('broken off')
    }
  }

  async #sendRubbish() {
    const kind = RUBBISH[Math.floor(this.#random() * (RUBBISH.length + 1))]
    if (!kind) {
      this.#load.count('half a request')
      return this.#connection.vanish('/v1/conversations')
    }
    const [method, path, body, headers, status] = kind
    try {
      await this.#expect(await this.#send('rubbish', method, path, body, headers), [status], `${method} ${path} with rubbish`)
    } catch (error) {
      // a body that is refused before its end may close the connection
      if (!(error instanceof Unreachable)) throw error
    }
  }

  /**
   * A request whose whole answer counts: it is repeated if that breaks off.
   * @param {string} what @param {string} method @param {string} path @param {object | undefined} body
   * @param {Record<string, string>} headers
   * @returns {Promise<{ status: number, text: string }>}
   */
  async #answered(what, method, path, body, headers) {
    for (;;) {
      const answer = await this.#send(what, method, path, body, headers)
      try {
        return { status: answer.status, text: await answer.text() }
      } catch (error) {
        if (!(error instanceof Unreachable)) throw error
      }
    }
  }

  /** @param {string} what @param {string} method @param {string} path @param {object | undefined} body @param {Record<string, string>} headers @param {number[]} expected */
  async #whole(what, method, path, body, headers, expected) {
    const { status, text } = await this.#answered(what, method, path, body, headers)
    if (!expected.includes(status))
      throw new Error(`${what}: ${method} ${path} answered ${status}, expected ${expected.join(' or ')}: ${text.slice(0, 300)}`)
    return text
  }
}

/**
 * Reads a conversation from its beginning: it must have these turns, each once.
 * @param {(path: string) => Promise<Answer>} get @param {string} address @param {Turn[]} turns
 * @param {(violation: string) => void} report
 */
export async function checkConversation(get, address, turns, report) {
  for (;;) {
    const answer = await get(`${address}/events`)
    try {
      if (answer.status === 204 && turns.length === 0) return
      if (answer.status !== 200)
        return report(`a conversation of ${turns.length} turns was told with ${answer.status} ${await answer.text()}`)
      const told = []
      let isWhole = true
      for await (const { event, data } of eventsOf(answer)) {
        if (data.error) isWhole = false
        else told.push(event === 'prompt' ? data.prompt : data.token)
      }
      if (!isWhole) continue
      const expected = turns.flatMap(({ prompt, ids }) => (prompt === '' ? ids : [prompt, ...ids]))
      if (JSON.stringify(told) !== JSON.stringify(expected))
        report(`a conversation was told as ${JSON.stringify(told)}, expected ${JSON.stringify(expected)}`)
      return
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error
    }
  }
}
