import { createSha256 } from '../io/sha256.js'
import { HttpError } from './http-error.js'

/** Compares keys in a time that does not depend on them: digests of one length, all bytes of all keys. */
export class Authorization {
  readonly #digests: readonly Uint8Array[]

  /** @param keys none: everyone is let in */
  constructor(keys: readonly string[]) {
    this.#digests = keys.map(digest)
  }

  /**
   * @returns the number of the key that the request shows; 0 if none is needed
   * @throws HttpError 401
   */
  check(request: Request): number {
    if (this.#digests.length === 0) return 0
    const [, given = ''] = /^Bearer +(\S+) *$/i.exec(request.headers.get('authorization') ?? '') ?? []
    const shown = digest(given)
    let found = -1
    this.#digests.forEach((expected, index) => {
      let difference = 0
      for (let i = 0; i < expected.length; i++) difference |= expected[i]! ^ shown[i]!
      if (difference === 0) found = index
    })
    if (given !== '' && found !== -1) return found
    throw new HttpError(401, 'UNAUTHORIZED', 'a key is needed: authorization: Bearer KEY', { headers: { 'www-authenticate': 'Bearer' } })
  }
}

function digest(key: string): Uint8Array {
  const sha256 = createSha256()
  sha256.update(new TextEncoder().encode(key))
  return sha256.digest()
}
