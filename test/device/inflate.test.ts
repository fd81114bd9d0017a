import fc from 'fast-check'
import { readFileSync } from 'node:fs'
import { constants, deflateRawSync } from 'node:zlib'
import { afterEach, expect, test, vi } from 'vitest'
import { inflate } from '../../src/device/wasm/inflate.js'
import { runs } from '../support/seed.js'

const { Z_FIXED, Z_HUFFMAN_ONLY, Z_RLE, Z_DEFAULT_STRATEGY } = constants

afterEach(() => {
  vi.restoreAllMocks()
  vi.resetModules()
})

test.each([
  ['baseline', 'zlib'],
  ['baseline', 'our own function'],
  ['relaxed', 'zlib'],
  ['relaxed', 'our own function'],
] as const)('the bundled %s build equals the file, inflated by %s', async (name, by) => {
  const { bundledBuild } = await import('../../src/device/wasm/bundled-builds.js')
  if (by !== 'zlib') vi.spyOn(process, 'getBuiltinModule').mockReturnValue(undefined)
  const file = readFileSync(new URL(`../../build/${name}.wasm`, import.meta.url))
  expect(Buffer.compare(bundledBuild(name), file)).toBe(0)
})

test('any bytes round-trip: stored, with fixed and with dynamic codes', () => {
  const repeats = fc.array(fc.tuple(fc.uint8Array({ maxLength: 40 }), fc.integer({ min: 1, max: 600 })), { maxLength: 12 })
  const options = fc.record({
    level: fc.integer({ min: 0, max: 9 }),
    strategy: fc.constantFrom(Z_DEFAULT_STRATEGY, Z_FIXED, Z_HUFFMAN_ONLY, Z_RLE),
  })
  fc.assert(
    fc.property(repeats, options, (parts, settings) => {
      const bytes = Buffer.concat(parts.flatMap(([part, times]) => Array<Uint8Array>(times).fill(part)))
      expect(Buffer.compare(inflate(deflateRawSync(bytes, settings), bytes.length), bytes)).toBe(0)
    }),
    runs(300),
  )
})

test('so do the longest match, the farthest one and several stored blocks', () => {
  const far = Buffer.alloc(100_000)
  for (let i = 0; i < 32_768; i++) far[i] = (i * 2_654_435_761) >>> 24
  far.copyWithin(32_768, 0, 32_768)
  for (const level of [0, 9]) expect(Buffer.compare(inflate(deflateRawSync(far, { level }), far.length), far)).toBe(0)
})
