// @ts-check
/* The service, with objects that a test can kill and look into. Never deployed: wrangler.jsonc names src/worker.js. */
import worker, { ConversationObject as Deployed } from '../src/worker.js'

/** Rows written, by object. @type {Map<string, number>} */
const written = new Map()

export class ConversationObject extends Deployed {
  /** @param {DurableObjectState} state @param {Env} env */
  constructor(state, env) {
    const { sql } = state.storage
    const execute = sql.exec.bind(sql)
    const id = state.id.toString()
    sql.exec = (...args) => {
      const cursor = execute(...args)
      written.set(id, (written.get(id) ?? 0) + cursor.rowsWritten)
      return cursor
    }
    super(state, env)
  }

  /** @param {Request} request @returns {Promise<Response>} */
  async fetch(request) {
    const { pathname } = new URL(request.url)
    // memory is lost, storage stays, and so do requests that are under way: they fail
    if (pathname === '/abort') this.ctx.abort('a test has ended this object')
    if (pathname === '/alarm') await this.alarm()
    return pathname === '/state' || pathname === '/alarm' ? this.#state() : super.fetch(request)
  }

  async #state() {
    const { sql } = this.ctx.storage
    const tables = sql.exec("SELECT name FROM sqlite_schema WHERE name IN ('conversation', 'entries')").toArray().length
    return Response.json({
      tables,
      bytes: sql.databaseSize,
      rowsWritten: written.get(this.ctx.id.toString()) ?? 0,
      largestRow: tables && sql.exec('SELECT max(length(value)) AS bytes FROM entries').one().bytes,
      alarm: await this.ctx.storage.getAlarm(),
    })
  }
}

export default {
  /** @param {Request} request @param {Env} env @returns {Promise<Response>} */
  fetch(request, env) {
    const [, test, what, id] = new URL(request.url).pathname.split('/')
    if (test !== 'test') return worker.fetch(request, env)
    const stub = env.CONVERSATIONS.get(env.CONVERSATIONS.idFromString(String(id)))
    return stub.fetch(`https://object.example/${what}`)
  },
}
