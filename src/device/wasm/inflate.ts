/*
 * Decompression of DEFLATE (RFC 1951) for the builds that the package holds, which were compressed by
 * scripts/build-wasm.mjs: without checks, since nobody else's bytes come here. For hosts without zlib;
 * `DecompressionStream` does the same, but not every page has it, such as Jest's.
 */

/** Lengths of matches, by symbol from 257 (section 3.2.5): the least one, and how many extra bits are added to it. */
const lengths = ranges(3, [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5])
/** Distances of matches, by symbol. */
const distances = ranges(1, [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13])
/** The order in which a block gives the code lengths of its code lengths (section 3.2.7). */
const CODE_LENGTH_ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]

function ranges(first: number, extraBits: readonly number[]): { least: number; extra: number }[] {
  let least = first
  return extraBits.map((extra) => {
    const range = { least, extra }
    least += 1 << extra
    return range
  })
}

/** A canonical Huffman code, as a table over the next bits of the input. */
interface Code {
  /** How many bits are looked at: as many as the longest code has. */
  readonly bits: number
  /** For each value of these bits, the symbol times 16, and the length of its code. */
  readonly table: Uint16Array
}

function codeOf(bitLengths: Uint8Array): Code {
  const bits = bitLengths.reduce((most, length) => Math.max(most, length), 1)
  const table = new Uint16Array(1 << bits)
  let code = 0
  for (let length = 1; length <= bits; length++, code <<= 1) {
    for (let symbol = 0; symbol < bitLengths.length; symbol++) {
      if (bitLengths[symbol] !== length) continue
      // codes are packed from their highest bit, everything else from the lowest
      for (let at = reverse(code++, length); at < table.length; at += 1 << length) table[at] = (symbol << 4) | length
    }
  }
  return { bits, table }
}

function reverse(code: number, length: number): number {
  let reversed = 0
  for (let bit = 0; bit < length; bit++) reversed |= ((code >> bit) & 1) << (length - 1 - bit)
  return reversed
}

class BitReader {
  readonly #bytes: Uint8Array
  #at = 0
  #bits = 0
  #count = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  /** Has at least so many bits at hand, which are zeros past the end; at most 16. */
  #fill(count: number): void {
    while (this.#count < count) {
      this.#bits |= (this.#bytes[this.#at++] ?? 0) << this.#count
      this.#count += 8
    }
  }

  #skip(count: number): void {
    this.#bits >>>= count
    this.#count -= count
  }

  /** The next bits, the first the lowest; at most 16. */
  take(count: number): number {
    this.#fill(count)
    const taken = this.#bits & ((1 << count) - 1)
    this.#skip(count)
    return taken
  }

  symbol({ bits, table }: Code): number {
    this.#fill(bits)
    const entry = table[this.#bits & ((1 << bits) - 1)]!
    this.#skip(entry & 15)
    return entry >> 4
  }

  /** Bytes that are stored as they are, from the next byte on. */
  stored(): Uint8Array {
    this.#at -= this.#count >> 3
    this.#bits = 0
    this.#count = 0
    const start = this.#at + 4 // behind the length and its complement
    this.#at = start + (this.#bytes[this.#at]! | (this.#bytes[this.#at + 1]! << 8))
    return this.#bytes.subarray(start, this.#at)
  }
}

/** @param length of the result, in bytes */
export function inflate(bytes: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  const output = new Uint8Array(length)
  const input = new BitReader(bytes)
  let at = 0
  let isLast = false
  while (!isLast) {
    isLast = input.take(1) === 1
    const type = input.take(2)
    if (type === 0) {
      const stored = input.stored()
      output.set(stored, at)
      at += stored.length
      continue
    }
    const [literals, far] = type === 1 ? fixedCodes() : dynamicCodes(input)
    for (;;) {
      const symbol = input.symbol(literals)
      if (symbol === 256) break
      if (symbol < 256) {
        output[at++] = symbol
        continue
      }
      // the last symbol stands for 258 alone
      const range = symbol === 285 ? { least: 258, extra: 0 } : lengths[symbol - 257]!
      const end = at + range.least + input.take(range.extra)
      const { least, extra } = distances[input.symbol(far)]!
      const distance = least + input.take(extra)
      if (distance >= end - at) output.copyWithin(at, at - distance, end - distance)
      else for (let i = at; i < end; i++) output[i] = output[i - distance]!
      at = end
    }
  }
  return output
}

function fixedCodes(): [literals: Code, distances: Code] {
  const bitLengths = Uint8Array.from({ length: 288 }, (_, symbol) => (symbol < 144 ? 8 : symbol < 256 ? 9 : symbol < 280 ? 7 : 8))
  return [codeOf(bitLengths), codeOf(new Uint8Array(30).fill(5))]
}

function dynamicCodes(input: BitReader): [literals: Code, distances: Code] {
  const numLiterals = input.take(5) + 257
  const total = numLiterals + input.take(5) + 1
  const ofLengths = new Uint8Array(19)
  const given = input.take(4) + 4
  for (let i = 0; i < given; i++) ofLengths[CODE_LENGTH_ORDER[i]!] = input.take(3)
  const code = codeOf(ofLengths)
  const bitLengths = new Uint8Array(total)
  for (let at = 0; at < total;) {
    const symbol = input.symbol(code)
    if (symbol < 16) bitLengths[at++] = symbol
    else if (symbol === 16) {
      const repeated = bitLengths[at - 1]!
      const end = at + 3 + input.take(2)
      bitLengths.fill(repeated, at, end)
      at = end
    } else at += symbol === 17 ? 3 + input.take(3) : 11 + input.take(7)
  }
  return [codeOf(bitLengths.subarray(0, numLiterals)), codeOf(bitLengths.subarray(numLiterals))]
}
