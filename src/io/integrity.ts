import { describe, RoutedAttentionError } from '../errors.js'
import { createSha256, type Sha256 } from './sha256.js'

/** @throws RoutedAttentionError `BAD_ARGUMENT` */
export function checkIntegrity(integrity: unknown): asserts integrity is Readonly<Record<string, string>> {
  if (typeof integrity !== 'object' || integrity === null || Array.isArray(integrity))
    throw new RoutedAttentionError('BAD_ARGUMENT', `integrity must be an object of digests by file name, got ${describe(integrity)}`)
  for (const [file, digest] of Object.entries(integrity)) {
    if (typeof digest !== 'string' || !/^(sha256-[A-Za-z0-9+/]{43}=|[0-9a-f]{64})$/i.test(digest)) {
      throw new RoutedAttentionError(
        'BAD_ARGUMENT',
        `integrity of ${describe(file)} must be 'sha256-' and base64, or 64 hexadecimal digits, got ${describe(digest)}`,
      )
    }
  }
}

/** Checks the bytes of a file against the expected digest. */
export class Verifier {
  private readonly hash: Sha256 = createSha256()

  constructor(
    private readonly file: string,
    private readonly expected: string,
  ) {}

  update(bytes: Uint8Array): void {
    this.hash.update(bytes)
  }

  /** @throws RoutedAttentionError `BAD_FILE` if the bytes received have another digest */
  finish(): void {
    const digest = this.hash.digest()
    const isBase64 = this.expected.length !== 64
    const expected = isBase64 ? this.expected.slice(7) : this.expected.toLowerCase()
    const got = isBase64 ? btoa(String.fromCharCode(...digest)) : Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('')
    if (got === expected) return
    throw new RoutedAttentionError(
      'BAD_FILE',
      `${this.file} has the SHA-256 digest ${got}, and ${expected} was expected (integrity): it is damaged, or another version`,
    )
  }
}
