// @ts-check

/** Length of an HMAC-SHA-256 signature in bytes. */
const SIGNATURE_BYTES = 32

/**
 * Signs session bytes that leave the service, and accepts only those it has signed. The checksum in a session detects
 * damage, but anyone with the model can compute it: a client could forge a session, or submit another client's.
 *
 * Signatures do not prevent replay: a client can submit an older session of its own. Where that matters, sign a counter
 * as well, and remember the latest.
 */
export class SignedSessions {
  #key

  /** @param {CryptoKey} key */
  constructor(key) {
    this.#key = key
  }

  /** @param {Uint8Array<ArrayBuffer>} secret at least 32 random bytes, shared by all servers that accept the sessions */
  static async create(secret) {
    if (secret.length < 32) throw new Error('a secret has at least 32 bytes')
    const key = await crypto.subtle.importKey('raw', secret, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign', 'verify'])
    return new SignedSessions(key)
  }

  /**
   * @param {string} owner the session's owner
   * @param {Uint8Array} bytes the result of `session.save()`
   * @returns the signature, then the bytes
   */
  async sign(owner, bytes) {
    const signature = await crypto.subtle.sign('HMAC', this.#key, signedPart(owner, bytes))
    const signed = new Uint8Array(SIGNATURE_BYTES + bytes.length)
    signed.set(new Uint8Array(signature))
    signed.set(bytes, SIGNATURE_BYTES)
    return signed
  }

  /**
   * @param {string} owner
   * @param {Uint8Array<ArrayBuffer>} signed
   * @returns the session's bytes, or undefined if this service did not sign them for this owner
   */
  async verify(owner, signed) {
    const bytes = signed.subarray(SIGNATURE_BYTES)
    // `verify` takes constant time; a comparison byte by byte would reveal how many are right
    const isOurs = await crypto.subtle.verify('HMAC', this.#key, signed.subarray(0, SIGNATURE_BYTES), signedPart(owner, bytes))
    return isOurs ? bytes : undefined
  }
}

/**
 * The signed message: the owner's length, the owner, the session. Without the length, bytes could be moved from one to
 * the other.
 * @param {string} owner
 * @param {Uint8Array} bytes
 */
function signedPart(owner, bytes) {
  const name = new TextEncoder().encode(owner)
  const part = new Uint8Array(4 + name.length + bytes.length)
  new DataView(part.buffer).setUint32(0, name.length)
  part.set(name, 4)
  part.set(bytes, 4 + name.length)
  return part
}
