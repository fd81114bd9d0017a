import { describe, RoutedAttentionError } from '../errors.js'
import type { LanguageModel } from '../model/language-model.js'
import { PrefixCache } from '../model/prefix-cache.js'
import { checkOptions } from '../options.js'
import type { FetchRequest, FetchResponse } from '../platform.js'
import { Admission } from './admission.js'
import { completionHandler, completionRoutes } from './completions/routes.js'
import { Conversations } from './conversations/conversations.js'
import { conversationRoutes } from './conversations/routes.js'
import { informationRoutes } from './information.js'
import { type HandlerOptions, resolveOptions } from './options.js'
import { ServerMetrics } from './server-metrics.js'
import { Server } from './server.js'
import type { Services } from './services.js'
import { Work } from './work.js'

/** Answers requests; what `createHandler` returns. */
export interface Handler {
  /** Answers a request. It never rejects. What comes after it, as servers of Deno and Bun pass it, is ignored. */
  (request: FetchRequest): Promise<FetchResponse>
  /**
   * Ends: further requests are refused with 503, and the promise resolves once those under way have ended. The model is
   * left as it is.
   * @param options `timeout`: milliseconds after which what is still under way is broken off; default 10,000
   */
  close(options?: { timeout?: number | undefined }): Promise<void>
}

/**
 * Serves a model over HTTP, in OpenAI's form, wherever there are `Request` and `Response`: docs/serving.md lists what it
 * takes and answers.
 * @throws RoutedAttentionError `BAD_ARGUMENT`
 */
export function createHandler(model: LanguageModel, options: HandlerOptions = {}): Handler {
  // on edge workers the class is another than here: their entry has a copy of its own
  if (typeof (model as Partial<LanguageModel> | null | undefined)?.createSession !== 'function')
    throw new RoutedAttentionError('BAD_ARGUMENT', `createHandler: model must be a LanguageModel, got ${describe(model)}`)
  const { server, services } = open(model, options)
  return Object.assign((request: FetchRequest) => server.answer(request), {
    close: async (options: { timeout?: number | undefined } = {}) => {
      checkOptions('close', options, ['timeout'])
      const { timeout = 10_000 } = options
      if (!Number.isSafeInteger(timeout) || timeout < 0)
        throw new RoutedAttentionError('BAD_ARGUMENT', `close: timeout must be an integer from 0, got ${describe(timeout)}`)
      await services.work.close(timeout)
      for (const prefixes of services.prefixes) prefixes.dispose()
    },
  })
}

function open(model: LanguageModel, options: HandlerOptions): { server: Server; services: Services } {
  const settings = resolveOptions(options)
  const admission = new Admission(model, settings)
  const work = new Work()
  const keys = Math.max(1, settings.apiKeys.length)
  const prefixes = Array.from({ length: keys }, () => new PrefixCache(model, { maxBytes: settings.maxCacheBytes / keys }))
  const metrics = new ServerMetrics()
  metrics.observe(model, admission, prefixes)
  const services: Services = { model, settings, admission, prefixes, metrics, work, created: Math.floor(Date.now() / 1000) }
  const conversations = conversationRoutes(new Conversations(services), settings, () => model)
  const routes = [...informationRoutes(services), ...completionRoutes(completionHandler(services)), ...conversations]
  return { server: new Server(settings, routes, metrics, work), services }
}
