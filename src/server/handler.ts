import { describe, RoutedAttentionError } from '../errors.js'
import type { LanguageModel } from '../model/language-model.js'
import { PrefixCache } from '../model/prefix-cache.js'
import { checkOptions } from '../options.js'
import type { FetchRequest, FetchResponse } from '../platform.js'
import { Admission } from './admission.js'
import { Authorization } from './authorization.js'
import { completionRoutes } from './completions/routes.js'
import { conversationRoutes } from './conversations/routes.js'
import { eventBody } from './event-body.js'
import { errorBody, HttpError, describeDefect, toHttpError } from './http-error.js'
import { informationRoutes } from './information.js'
import type { LogEntry, Usage } from './log.js'
import { type HandlerOptions, resolveOptions } from './options.js'
import { Origins } from './origins.js'
import { RateLimit } from './rate-limit.js'
import { json, type Reply } from './reply.js'
import { Router } from './router.js'
import { ServerMetrics } from './server-metrics.js'
import type { Services } from './services.js'
import { closing, Work, type WorkItem } from './work.js'

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
  const server = new Server(model, options)
  return Object.assign((request: FetchRequest) => server.answer(request), {
    close: async (options: { timeout?: number | undefined } = {}) => {
      checkOptions('close', options, ['timeout'])
      const { timeout = 10_000 } = options
      if (!Number.isSafeInteger(timeout) || timeout < 0)
        throw new RoutedAttentionError('BAD_ARGUMENT', `close: timeout must be an integer from 0, got ${describe(timeout)}`)
      await server.close(timeout)
    },
  })
}

/** A request under way. */
interface Visit {
  readonly request: Request
  readonly work: WorkItem
  readonly usage: Usage
  route: string
  /** Headers of the answer, whatever it is. */
  headers: Record<string, string>
  /** Reports its end. */
  end(status: number, error?: unknown): void
}

class Server {
  readonly #services: Services
  readonly #router: Router
  readonly #authorization: Authorization
  readonly #origins: Origins
  readonly #rate: RateLimit
  readonly #work = new Work()

  constructor(model: LanguageModel, options: HandlerOptions) {
    const settings = resolveOptions(options)
    const admission = new Admission(model, settings)
    const created = Math.floor(Date.now() / 1000)
    const keys = Math.max(1, settings.apiKeys.length)
    const prefixes = Array.from({ length: keys }, () => new PrefixCache(model, { maxBytes: settings.maxCacheBytes / keys }))
    const metrics = new ServerMetrics(model, admission, prefixes)
    this.#services = { model, settings, admission, prefixes, metrics, work: this.#work, created }
    const routesOf = [informationRoutes, completionRoutes, conversationRoutes]
    this.#router = new Router(routesOf.flatMap((of) => of(this.#services)))
    this.#authorization = new Authorization(settings.apiKeys)
    this.#origins = new Origins(settings.origins)
    this.#rate = new RateLimit(settings.requestsPerMinute)
  }

  async close(timeout: number): Promise<void> {
    await this.#work.close(timeout)
    for (const prefixes of this.#services.prefixes) prefixes.dispose()
  }

  async answer(request: Request): Promise<Response> {
    const visit = this.#begin(request)
    try {
      const reply = await this.#reply(visit)
      return this.#respond(reply, visit)
    } catch (thrown) {
      const error = toHttpError(thrown)
      const reply = json(errorBody(error), error.status, error.headers)
      visit.end(error.status, thrown)
      return response(reply.status, { ...reply.headers, ...visit.headers }, reply.body as string)
    }
  }

  #begin(request: Request): Visit {
    const begin = performance.now()
    const work = this.#work.begin()
    const leave = () => work.abort(new HttpError(499, 'CLIENT_LEFT', 'the client has left'))
    request.signal.addEventListener('abort', leave)
    if (request.signal.aborted) leave()
    const usage: Usage = { queuedMilliseconds: 0, promptTokens: 0, cachedTokens: 0, completionTokens: 0 }
    const visit: Visit = {
      request,
      work,
      usage,
      route: '',
      headers: { 'cache-control': 'no-store' },
      end: (status, thrown) => {
        request.signal.removeEventListener('abort', leave)
        const error = thrown === undefined ? undefined : toHttpError(thrown)
        const entry: LogEntry = {
          method: request.method,
          route: visit.route,
          status: error?.code === 'CLIENT_LEFT' ? 499 : status,
          ...(error && { code: error.code }),
          milliseconds: performance.now() - begin,
          ...usage,
          ...(error?.code === 'INTERNAL' && { defect: describeDefect(thrown) }),
        }
        this.#services.metrics.count(entry)
        try {
          this.#services.settings.log?.(entry)
        } catch {
          // no answer fails for want of a log
        }
        work.end() // last, since a shutdown waits for it
      },
    }
    return visit
  }

  async #reply(visit: Visit): Promise<Reply> {
    const { request, work } = visit
    const url = new URL(request.url)
    Object.assign(visit.headers, this.#origins.check(request))
    if (request.method === 'OPTIONS' && request.headers.has('access-control-request-method')) {
      const methods = this.#router.methodsAt(url.pathname)
      return { status: 204, headers: this.#origins.preflight(request, methods), body: null }
    }
    const { route, params } = this.#router.find(request.method, url.pathname)
    visit.route = route.pattern
    const exchange = { request, url, params, signal: work.signal, usage: visit.usage }
    if (route.isOpen) return route.handle({ ...exchange, key: 0 })
    const key = this.#authorization.check(request)
    if (this.#work.isClosing) throw closing()
    this.#rate.take(this.#services.settings.clientOf?.(request) ?? String(key))
    return route.handle({ ...exchange, key })
  }

  #respond({ status, headers, body }: Reply, visit: Visit): Response {
    const all = { ...headers, ...visit.headers }
    if (body === null || typeof body === 'string') {
      visit.end(status)
      return response(status, all, body)
    }
    const { stallTimeout } = this.#services.settings
    return response(
      status,
      all,
      eventBody(body, visit.work, stallTimeout, (error) => visit.end(status, error)),
    )
  }
}

function response(status: number, headers: Record<string, string>, body: string | ReadableStream<Uint8Array> | null): Response {
  return new Response(body, { status, headers: { ...headers, 'x-content-type-options': 'nosniff' } })
}
