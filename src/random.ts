import { describe, RoutedAttentionError } from './errors.js'

/** A seeded random number generator; the same seed gives the same stream in every engine. */
export interface Random {
  /** Uniform in [0, 1), 53 bits. */
  uniform(): number
  /** Standard normal. */
  normal(): number
}

/**
 * xoshiro128** (Blackman and Vigna, 2018), seeded by splitmix32-style mixing. Normals use Marsaglia's polar method with
 * a custom logarithm, since `Math.log` may differ between engines in the last bit.
 * @param seed any finite number; if omitted, taken from `Math.random`
 * @throws RoutedAttentionError `BAD_ARGUMENT` if the seed is not a finite number
 */
export function createRandom(seed?: number): Random {
  const value: unknown = seed === undefined ? Math.random() : seed
  if (typeof value !== 'number' || !Number.isFinite(value)) {
    throw new RoutedAttentionError('BAD_ARGUMENT', `seed must be a finite number, got ${describe(value)}`)
  }
  const words = new Uint32Array(new Float64Array([value + 0]).buffer)
  let mix = (words[0]! ^ Math.imul(words[1]!, 0x9e3779b1)) >>> 0
  const next = () => {
    mix = (mix + 0x9e3779b9) >>> 0
    let z = mix
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b)
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35)
    return (z ^ (z >>> 16)) >>> 0
  }
  let [a, b, c, d] = [next(), next(), next(), next() | 1]

  const word = () => {
    const product = Math.imul(b, 5)
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0
    const t = b << 9
    c ^= a
    d ^= b
    b ^= c
    a ^= d
    c ^= t
    d = (d << 11) | (d >>> 21)
    return result
  }
  const uniform = () => ((word() >>> 5) * 2 ** 26 + (word() >>> 6)) * 2 ** -53

  let spare: number | undefined
  const normal = () => {
    if (spare !== undefined) {
      const value = spare
      spare = undefined
      return value
    }
    for (;;) {
      const x = 2 * uniform() - 1
      const y = 2 * uniform() - 1
      const s = x * x + y * y
      if (s >= 1 || s === 0) continue
      const scale = Math.sqrt((-2 * naturalLogarithm(s)) / s)
      spare = y * scale
      return x * scale
    }
  }
  return { uniform, normal }
}

/**
 * ln x for positive normal x, using only operations that IEEE 754 rounds exactly: x = m·2^k, ln m = 2 artanh((m − 1)/(m
 * + 1)).
 */
function naturalLogarithm(x: number): number {
  let exponent = 0
  while (x < Math.SQRT1_2) {
    x *= 2
    exponent--
  }
  while (x > Math.SQRT2) {
    x /= 2
    exponent++
  }
  const t = (x - 1) / (x + 1)
  const square = t * t
  let sum = 0
  for (let n = 27; n >= 1; n -= 2) sum = sum * square + 1 / n // |t| ≤ 0.172: the next term is below 2^-70
  return 2 * t * sum + exponent * Math.LN2
}

/** A seed that survives JSON and can be typed: an integer of 32 bits. */
export function drawSeed(): number {
  return Math.floor(Math.random() * 2 ** 32)
}
