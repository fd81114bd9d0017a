// @ts-check
/* The service, with objects that a test can kill. Never deployed: wrangler.jsonc names src/worker.js. */
import worker, { ConversationObject as Deployed } from '../src/worker.js'

export class ConversationObject extends Deployed {
  /** @param {Request} request @returns {Promise<Response>} */
  fetch(request) {
    // memory is lost, storage stays, and so do requests that are under way: they fail
    if (new URL(request.url).pathname === '/abort') this.ctx.abort('a test has ended this object')
    if (new URL(request.url).pathname === '/alarm') return this.#expire()
    return super.fetch(request)
  }

  async #expire() {
    const due = await this.ctx.storage.getAlarm()
    const rows = () => this.ctx.storage.sql.exec('SELECT count(*) AS rows FROM sqlite_schema').one().rows
    const before = rows()
    await this.alarm()
    return Response.json({ due, before, after: rows(), next: await this.ctx.storage.getAlarm() })
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
