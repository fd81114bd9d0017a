import { expect, test } from 'vitest'
import { Arena } from '../../src/memory/arena.js'

const newArena = (maximum = 64) => new Arena(new WebAssembly.Memory({ initial: 1, maximum, shared: true }), 1024)

test('memory allocated as zeros is zero, whether it was used before, was not, or in part', () => {
  const arena = newArena()
  const fill = (byteLength: number, zeroed: boolean) => {
    const block = zeroed ? arena.allocateZeros(byteLength, 'a test') : arena.allocate(byteLength, 'a test')
    const bytes = arena.bytes.subarray(block.address, block.address + block.byteLength)
    if (zeroed) expect(bytes.every((byte) => byte === 0)).toBe(true)
    bytes.fill(0xa5)
    return block
  }
  arena.free(fill(40_000, false))
  const inside = fill(10_000, true)
  const across = fill(50_000, true)
  const beyond = fill(300_000, true)
  for (const block of [inside, across, beyond]) arena.free(block)
  fill(700_000, true)
})
