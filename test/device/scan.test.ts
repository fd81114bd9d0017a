import { expect, test } from 'vitest'
import { isFiniteFloat16 } from '../../src/half.js'
import { Checksum } from '../../src/model/parameters/checksum.js'
import { createRandom } from '../../src/random.js'
import { openRuntime, releaseBuilds } from '../support/runtimes.js'

/** Lengths around a block of 16 bytes, and around what is brought into the memory at a time. */
const LENGTHS = [0, 2, 14, 16, 18, 46, 2 ** 18 - 16, 2 ** 18, 2 ** 18 + 6, 3 * 2 ** 18 + 34]

test.each(releaseBuilds)('the %s build scans bytes with the same results as JavaScript', async (build) => {
  await using runtime = openRuntime(build)
  const { scanner } = runtime.device
  const { used } = runtime.info.memory
  const random = createRandom(5)
  for (const length of LENGTHS) {
    for (const misalignment of [0, 1, 2, 7]) {
      const bytes = new Uint8Array(length + misalignment).subarray(misalignment)
      for (let i = 0; i < length; i++) bytes[i] = Math.floor(random.uniform() * 256) & (i & 1 ? 0xbb : 0xff)
      expect(scanner!.isFiniteFloat16(bytes), `${length} bytes`).toBe(true)
      expect(new Checksum(scanner).update(bytes).update(bytes).digest(), `${length} bytes`).toEqual(
        new Checksum().update(bytes).update(bytes).digest(),
      )
      for (const half of [0, length >> 2, (length >> 1) - 1]) {
        if (half < 0 || 2 * half >= length) continue
        const before = bytes.slice(2 * half, 2 * half + 2)
        for (const value of [0x7c00, 0xfc00, 0x7e01]) {
          bytes[2 * half] = value & 255
          bytes[2 * half + 1] = value >> 8
          expect(isFiniteFloat16(bytes), `${value} at ${half} of ${length}`).toBe(false)
          expect(scanner!.isFiniteFloat16(bytes), `${value} at ${half} of ${length}`).toBe(false)
        }
        bytes.set(before, 2 * half)
      }
    }
  }
  expect(runtime.info.memory.used).toBe(used)
})
