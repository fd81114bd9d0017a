import { fileSystem } from './sources/file-system.js'

/**
 * An incremental SHA-256 digest. The Web Crypto API needs all bytes at once, copies them, and exists only in secure
 * contexts.
 */
export interface Sha256 {
  update(bytes: Uint8Array): unknown
  /** 32 bytes; nothing may be added afterwards. */
  digest(): Uint8Array
}

/** Uses the runtime's own implementation if it is incremental. */
export function createSha256(): Sha256 {
  return fileSystem()?.crypto.createHash('sha256') ?? new PlainSha256()
}

/** FIPS 180-4 section 4.2.2: fractions of the cube roots of the first 64 primes. */
// prettier-ignore
const ROUND_CONSTANTS = [
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
]

/** Section 5.3.3: fractions of the square roots of the first 8. */
const INITIAL_HASH = [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19]

const BLOCK_BYTES = 64

/** FIPS 180-4 section 6.2, for runtimes without node:crypto. */
export class PlainSha256 implements Sha256 {
  private readonly hash = Int32Array.from(INITIAL_HASH)
  private readonly constants = Int32Array.from(ROUND_CONSTANTS)
  private readonly schedule = new Int32Array(64) // signed words, which engines keep as integers: twice as fast as unsigned
  private readonly block = new Uint8Array(BLOCK_BYTES)
  private length = 0

  update(bytes: Uint8Array): void {
    let offset = 0
    while (offset < bytes.length) {
      const filled = this.length % BLOCK_BYTES
      const count = Math.min(BLOCK_BYTES - filled, bytes.length - offset)
      if (count === BLOCK_BYTES) {
        this.compress(bytes, offset)
      } else {
        this.block.set(bytes.subarray(offset, offset + count), filled)
        if (filled + count === BLOCK_BYTES) this.compress(this.block, 0)
      }
      this.length += count
      offset += count
    }
  }

  digest(): Uint8Array {
    const bits = BigInt(this.length) * 8n
    const padding = new Uint8Array(paddingLength(this.length))
    padding[0] = 0x80
    new DataView(padding.buffer).setBigUint64(padding.length - 8, bits)
    this.update(padding)
    const digest = new DataView(new ArrayBuffer(32))
    this.hash.forEach((word, i) => digest.setInt32(4 * i, word))
    return new Uint8Array(digest.buffer)
  }

  private compress(bytes: Uint8Array, offset: number): void {
    const { hash, constants, schedule } = this
    for (let t = 0, i = offset; t < 16; t++, i += 4) {
      schedule[t] = (bytes[i]! << 24) | (bytes[i + 1]! << 16) | (bytes[i + 2]! << 8) | bytes[i + 3]!
    }
    for (let t = 16; t < 64; t++) {
      const early = schedule[t - 15]!
      const late = schedule[t - 2]!
      const sigma0 = rotateRight(early, 7) ^ rotateRight(early, 18) ^ (early >>> 3)
      const sigma1 = rotateRight(late, 17) ^ rotateRight(late, 19) ^ (late >>> 10)
      schedule[t] = (schedule[t - 16]! + sigma0 + schedule[t - 7]! + sigma1) | 0
    }
    let a = hash[0]!
    let b = hash[1]!
    let c = hash[2]!
    let d = hash[3]!
    let e = hash[4]!
    let f = hash[5]!
    let g = hash[6]!
    let h = hash[7]!
    for (let t = 0; t < 64; t++) {
      const sum1 = rotateRight(e, 6) ^ rotateRight(e, 11) ^ rotateRight(e, 25)
      const choice = (e & f) ^ (~e & g)
      const first = (h + sum1 + choice + constants[t]! + schedule[t]!) | 0
      const sum0 = rotateRight(a, 2) ^ rotateRight(a, 13) ^ rotateRight(a, 22)
      const majority = (a & b) ^ (a & c) ^ (b & c)
      h = g
      g = f
      f = e
      e = (d + first) | 0
      d = c
      c = b
      b = a
      a = (first + sum0 + majority) | 0
    }
    hash[0]! += a
    hash[1]! += b
    hash[2]! += c
    hash[3]! += d
    hash[4]! += e
    hash[5]! += f
    hash[6]! += g
    hash[7]! += h
  }
}

/** Section 5.1.1: a one bit, zeros, and the length in 64 bits, up to a whole block. */
function paddingLength(length: number): number {
  return BLOCK_BYTES - ((length + 8) % BLOCK_BYTES) + 8
}

function rotateRight(word: number, bits: number): number {
  return (word >>> bits) | (word << (32 - bits))
}
