import { expect, test } from 'vitest'
import { createRandom } from '../../src/random.js'
import { fusedMultiplyAdd } from './float32.js'

const word = new Int32Array(1)
const float = new Float32Array(word.buffer)

function fromBits(bits: number): number {
  word[0] = bits
  return float[0]!
}

/** A finite float32 as a whole number of 2^-298, the least product. */
function exact(value: number): bigint {
  float[0] = value
  const exponent = (word[0]! >>> 23) & 255
  const fraction = BigInt(word[0]! & 0x7fffff) | (exponent ? 0x800000n : 0n)
  const magnitude = fraction << BigInt(Math.max(exponent, 1) - 1 + 149)
  return word[0]! < 0 ? -magnitude : magnitude
}

/** The float32 nearest to a whole number of 2^-298, ties to even. */
function nearest(value: bigint): number {
  const magnitude = value < 0n ? -value : value
  const shift = BigInt(Math.max(magnitude.toString(2).length - 24, 149))
  const half = 1n << (shift - 1n)
  const rest = magnitude & ((1n << shift) - 1n)
  let rounded = magnitude >> shift
  if (rest > half || (rest === half && rounded & 1n)) rounded++
  const result = Math.fround(Number(rounded) * 2 ** (Number(shift) - 298))
  return value < 0n ? -result : result
}

test('the emulated fused multiply-add rounds the exact sum once, subnormal results and near ties included', () => {
  const random = createRandom(1)
  const bits = () => Math.floor(random.uniform() * 2 ** 32) | 0
  let doublyRounded = 0
  const check = (a: number, b: number, sum: number) => {
    const expected = nearest((exact(a) * exact(b)) / (1n << 298n) + exact(sum))
    expect(fusedMultiplyAdd(a, b, sum), `${a} · ${b} + ${sum}`).toBe(expected)
    if (Math.fround(a * b + sum) !== expected) doublyRounded++
  }
  for (let i = 0; i < 4000; i++) {
    const a = fromBits(bits())
    const b = fromBits(bits())
    if (!Number.isFinite(a) || !Number.isFinite(b)) continue
    const sum = Math.fround(a * b * 2 ** Math.floor(random.uniform() * 60 - 30) * (random.uniform() - 0.5))
    if (Math.abs(a * b) < 1e38 && Math.abs(sum) < 1e38) check(a, b, sum)
  }
  for (let i = 0; i < 2000; i++) {
    // 2^-24 (1 + j·2^-23) (1 - j·2^-23) is 2^-24, half of what separates values near 1, less j²·2^-70: no tie, though
    // float64 cannot tell
    const sum = 1 + Math.floor(random.uniform() * 2 ** 23) * 2 ** -23
    const j = Math.floor(random.uniform() * 64) * 2 ** -23
    check(1 + j, 2 ** -24 - j * 2 ** -24, sum)
    check(1 + j, j * 2 ** -24 - 2 ** -24, sum)
    check(-1 - j, 2 ** -24 - j * 2 ** -24, -sum)
  }
  expect(doublyRounded).toBeGreaterThan(0)
})
