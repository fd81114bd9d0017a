import { Authorization } from './authorization.js'
import { eventBody } from './event-body.js'
import { errorBody, HttpError, describeDefect, toHttpError } from './http-error.js'
import type { LogEntry, Usage } from './log.js'
import type { Settings } from './options.js'
import { Origins } from './origins.js'
import { RateLimit } from './rate-limit.js'
import { json, type Reply } from './reply.js'
import { type Route, Router } from './router.js'
import type { ServerMetrics } from './server-metrics.js'
import { closing, type Work, type WorkItem } from './work.js'

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
  /** Leaves the report to whoever answers it. */
  pass(): void
}

/** Answers requests by routes: checks who sends them, counts them, and tells of what fails. */
export class Server {
  readonly #settings: Settings
  readonly #router: Router
  readonly #authorization: Authorization
  readonly #origins: Origins
  readonly #rate: RateLimit
  readonly #metrics: ServerMetrics
  readonly #work: Work

  /** @param work what is under way: requests are added to it */
  constructor(settings: Settings, routes: readonly Route[], metrics: ServerMetrics, work: Work) {
    this.#settings = settings
    this.#router = new Router(routes)
    this.#authorization = new Authorization(settings.apiKeys)
    this.#origins = new Origins(settings.origins)
    this.#rate = new RateLimit(settings.requestsPerMinute)
    this.#metrics = metrics
    this.#work = work
  }

  /** Never rejects. */
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
    const pass = () => {
      request.signal.removeEventListener('abort', leave)
      work.end() // last, since a shutdown waits for it
    }
    const visit: Visit = {
      request,
      work,
      usage,
      route: '',
      headers: { 'cache-control': 'no-store' },
      pass,
      end: (status, thrown) => {
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
        this.#metrics.count(entry)
        try {
          this.#settings.log?.(entry)
        } catch {
          // no answer fails for want of a log
        }
        pass()
      },
    }
    return visit
  }

  async #reply(visit: Visit): Promise<Reply | Response> {
    const { request, work } = visit
    const url = new URL(request.url)
    Object.assign(visit.headers, this.#origins.check(request))
    if (request.method === 'OPTIONS' && request.headers.has('access-control-request-method')) {
      const methods = this.#router.methodsAt(url.pathname)
      return { status: 204, headers: this.#origins.preflight(request, methods), body: null }
    }
    const { route, params } = this.#router.find(request.method, url.pathname)
    visit.route = route.pattern
    const exchange = { request, url, params, signal: work.signal, abort: work.abort, usage: visit.usage }
    if (route.isOpen) return route.handle({ ...exchange, key: 0 })
    const key = this.#authorization.check(request)
    if (this.#work.isClosing) throw closing()
    this.#rate.take(this.#settings.clientOf?.(request) ?? String(key))
    return route.handle({ ...exchange, key })
  }

  #respond(reply: Reply | Response, visit: Visit): Response {
    if (reply instanceof Response) {
      visit.pass()
      return new Response(reply.body, { status: reply.status, headers: { ...Object.fromEntries(reply.headers), ...visit.headers } })
    }
    const { status, headers, body } = reply
    const all = { ...headers, ...visit.headers }
    if (body === null || typeof body === 'string' || body instanceof Uint8Array) {
      visit.end(status)
      return response(status, all, body)
    }
    const { stallTimeout } = this.#settings
    return response(
      status,
      all,
      eventBody(body, visit.work, stallTimeout, (error) => visit.end(status, error)),
    )
  }
}

function response(status: number, headers: Record<string, string>, body: BodyInit | null): Response {
  return new Response(body, { status, headers: { ...headers, 'x-content-type-options': 'nosniff' } })
}
