import { HttpError } from './http-error.js'

/** Which pages may send requests (CORS). */
export class Origins {
  readonly #listed: ReadonlySet<string>

  constructor(origins: readonly string[]) {
    this.#listed = new Set(origins)
  }

  /**
   * Headers that let the page read the answer; none if the request comes from no page.
   * @throws HttpError 403 for a page that is not listed
   */
  check(request: Request): Record<string, string> {
    const origin = request.headers.get('origin')
    if (origin === null) return {}
    const all = this.#listed.has('*')
    if (!all && !this.#listed.has(origin))
      throw new HttpError(403, 'FORBIDDEN', 'pages of this origin may not send requests', { headers: { vary: 'origin' } })
    return {
      'access-control-allow-origin': all ? '*' : origin,
      'access-control-expose-headers': 'retry-after, location',
      ...(all ? {} : { vary: 'origin' }),
    }
  }

  /** Headers that answer a preflight. @param methods that the address takes */
  preflight(request: Request, methods: readonly string[]): Record<string, string> {
    return {
      ...this.check(request),
      'access-control-allow-methods': methods.join(', '),
      // OpenAI's clients send headers about themselves; none of them is a right
      'access-control-allow-headers': request.headers.get('access-control-request-headers') ?? '',
      'access-control-max-age': '7200',
    }
  }
}
