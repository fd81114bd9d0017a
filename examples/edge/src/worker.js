// @ts-check
import { DurableObject, env } from 'cloudflare:workers'
import { LanguageModel } from 'routed-attention'
import { createEdgeServer } from 'routed-attention/server'
import { conversationObjects } from './conversation-objects.js'
import { ObjectStore } from './object-store.js'
import { readSettings } from './settings.js'
import { weightsFetch, WEIGHTS_URL } from './weights.js'

const settings = readSettings(env)

/** One for each isolate: the objects in it share the model's weights. */
const server = createEdgeServer({
  ...settings.server,
  load: (onProgress) => LanguageModel.load(WEIGHTS_URL, { fetch: weightsFetch(env), onProgress }),
  log: (entry) => console.log(JSON.stringify(entry)),
})

/** Holds one conversation, in a database of its own. */
export class ConversationObject extends DurableObject {
  #store
  #handler

  /** @param {DurableObjectState} state @param {Env} env */
  constructor(state, env) {
    super(state, env)
    this.#store = new ObjectStore(state.storage, settings.idleDays)
    this.#handler = this.#open()
  }

  #open() {
    return server.conversation(conversationObjects(this.env).nameOf(this.ctx.id), this.#store)
  }

  /** @param {Request} request @returns {Promise<Response>} */
  fetch(request) {
    return this.#handler(request)
  }

  /** Deletes the conversation once nobody has used it for too long. */
  async alarm() {
    // a new handler knows nothing of what is gone
    if (await this.#store.expire()) this.#handler = this.#open()
  }
}

/** @type {import('routed-attention/server').EdgeHandler | undefined} */
let front

export default {
  /** @param {Request} request @param {Env} env @returns {Promise<Response>} */
  fetch(request, env) {
    front ??= server.front(conversationObjects(env))
    return front(request)
  },
}
