import { HttpError } from './http-error.js'
import type { Exchange } from './exchange.js'
import type { Reply } from './reply.js'

/** One kind of request. */
export interface Route {
  readonly method: 'GET' | 'POST' | 'DELETE'
  /** The path; a segment that begins with a colon, such as ':id', matches any one. */
  readonly pattern: string
  /** Whether it is answered without a key; default false. */
  readonly isOpen?: boolean
  /**
   * A `Response` is somebody else's answer, and is passed on.
   * @throws HttpError, or any error that `toHttpError` knows
   */
  readonly handle: (exchange: Exchange) => Reply | Promise<Reply | Response>
}

/** A route that matched, with the segments that its pattern names. */
export interface Match {
  readonly route: Route
  readonly params: Readonly<Record<string, string>>
}

/** Finds the route of a request. */
export class Router {
  readonly #routes: readonly { readonly route: Route; readonly segments: readonly string[] }[]

  constructor(routes: readonly Route[]) {
    this.#routes = routes.map((route) => ({ route, segments: route.pattern.split('/') }))
  }

  /** The methods that an address takes; none if there is no such address. */
  methodsAt(path: string): string[] {
    return this.#at(path).map(({ route }) => route.method)
  }

  /** @throws HttpError 404, 405 */
  find(method: string, path: string): Match {
    const here = this.#at(path)
    const match = here.find(({ route }) => route.method === method)
    if (match) return match
    if (here.length === 0) throw new HttpError(404, 'NOT_FOUND', 'there is nothing at this address')
    const allow = here.map(({ route }) => route.method).join(', ')
    throw new HttpError(405, 'METHOD_NOT_ALLOWED', `this address takes ${allow}`, { headers: { allow } })
  }

  #at(path: string): Match[] {
    const given = path.split('/')
    return this.#routes.flatMap(({ route, segments }) => {
      if (segments.length !== given.length) return []
      const params: Record<string, string> = {}
      for (const [i, segment] of segments.entries()) {
        if (segment.startsWith(':') && given[i] !== '') params[segment.slice(1)] = given[i]!
        else if (segment !== given[i]) return []
      }
      return [{ route, params }]
    })
  }
}
