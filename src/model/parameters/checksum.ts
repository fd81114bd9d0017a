import type { ByteScanner } from '../../device/device.js'

/** Size of a checksum in bytes. */
export const CHECKSUM_BYTES = 16

const BLOCK_BYTES = 16

const PRIMES = [0x9e3779b1, 0x85ebca77, 0xc2b2ae3d, 0x27d4eb2f] as const

/**
 * A 128-bit checksum for detecting damage and identifying models (no protection against deliberate forgery). Four lanes
 * of 32-bit multiply-rotate-multiply rounds, as in xxHash32, over four words at a time; finally the lanes are mixed
 * with each other and with the length. The bytes may come in any pieces.
 */
export class Checksum {
  readonly #scanner: ByteScanner | undefined
  readonly #lanes = Uint32Array.of(0x24234428, 0x85ebca77, 0x00000000, 0x61c8864f)
  /** The beginning of a block whose end has not come. */
  readonly #rest = new Uint8Array(BLOCK_BYTES)
  #length = 0

  /** @param scanner mixes blocks faster than this class */
  constructor(scanner?: ByteScanner) {
    this.#scanner = scanner
  }

  /** Adds bytes; nothing may be added after `digest`. */
  update(bytes: Uint8Array): this {
    const filled = this.#length % BLOCK_BYTES
    this.#length += bytes.length
    let from = 0
    if (filled > 0) {
      from = Math.min(BLOCK_BYTES - filled, bytes.length)
      this.#rest.set(bytes.subarray(0, from), filled)
      if (filled + from < BLOCK_BYTES) return this
      mixBlocks(this.#lanes, this.#rest)
    }
    const end = bytes.length - ((bytes.length - from) % BLOCK_BYTES)
    if (end > from) this.#mixBlocks(bytes.subarray(from, end))
    this.#rest.set(bytes.subarray(end))
    return this
  }

  #mixBlocks(blocks: Uint8Array): void {
    if (this.#scanner) this.#scanner.mixBlocks(this.#lanes, blocks)
    else mixBlocks(this.#lanes, blocks)
  }

  digest(): Uint8Array {
    const filled = this.#length % BLOCK_BYTES
    if (filled > 0) mixBlocks(this.#lanes, this.#rest.fill(0, filled))
    const lanes = [...this.#lanes]
    lanes[0] = round(lanes[0]!, this.#length) ^ this.#length
    // twice around, so that every lane has affected every other
    for (let turn = 0; turn < 2; turn++) {
      for (let i = 0; i < 4; i++) lanes[(i + 1) % 4] = avalanche(lanes[(i + 1) % 4]! ^ round(lanes[i]!, i))
    }
    return new Uint8Array(Uint32Array.from(lanes).buffer)
  }
}

function mixBlocks(lanes: Uint32Array, bytes: Uint8Array): void {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice()
  const words = new Int32Array(aligned.buffer, aligned.byteOffset, aligned.length / 4)
  let [a, b, c, d] = lanes as unknown as [number, number, number, number]
  for (let i = 0; i < words.length; i += 4) {
    a = round(a, words[i]!)
    b = round(b, words[i + 1]!)
    c = round(c, words[i + 2]!)
    d = round(d, words[i + 3]!)
  }
  lanes.set([a, b, c, d])
}

function round(lane: number, word: number): number {
  const mixed = (lane + Math.imul(word, PRIMES[1])) | 0
  return Math.imul((mixed << 13) | (mixed >>> 19), PRIMES[0])
}

function avalanche(word: number): number {
  let h = word ^ (word >>> 15)
  h = Math.imul(h, PRIMES[1])
  h ^= h >>> 13
  h = Math.imul(h, PRIMES[2])
  return h ^ (h >>> 16)
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}
