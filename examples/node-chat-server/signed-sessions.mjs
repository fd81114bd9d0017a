// @ts-check

/** Bytes of a signature: HMAC with SHA-256. */
const SIGNATURE_BYTES = 32

/**
 * Signs session bytes that leave the service, and takes back only what it signed. The checksum in a session finds damage, but whoever has the model can
 * make one that fits: a client could write itself a session that never was, or hand in another client's.
 *
 * A signature does not say when: a client can come back with an older session of its own. Where that matters, sign a counter too and keep the last one.
 */
export class SignedSessions {
  #key

  /** @param {CryptoKey} key */
  constructor(key) {
    this.#key = key
  }

  /** @param {Uint8Array<ArrayBuffer>} secret at least 32 bytes at random, the same wherever sessions are to be taken back */
  static async create(secret) {
    if (secret.length < 32) throw new Error('a secret has at least 32 bytes')
    const key = await crypto.subtle.importKey('raw', secret, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign', 'verify'])
    return new SignedSessions(key)
  }

  /**
   * @param {string} owner whose session it is
   * @param {Uint8Array} bytes of `session.save()`
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
   * @returns the session's bytes, or undefined: this service did not sign them for this owner
   */
  async verify(owner, signed) {
    const bytes = signed.subarray(SIGNATURE_BYTES)
    // `verify` takes as long whatever differs: comparing signatures byte by byte would tell how many are right
    const isOurs = await crypto.subtle.verify('HMAC', this.#key, signed.subarray(0, SIGNATURE_BYTES), signedPart(owner, bytes))
    return isOurs ? bytes : undefined
  }
}

/**
 * What is signed: the owner's length, the owner, the session. Without the length, part of one could pass for part of the other.
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
