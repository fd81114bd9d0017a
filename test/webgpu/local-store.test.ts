import { beforeAll, describe, test } from 'vitest'
import { DispatchHeader } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import type { WebGpuDevice } from '../../src/device/webgpu/webgpu-device.js'
import { normals, range, roundUpTo8 } from '../kernels/float32.js'
import { Region, OpMemory } from '../kernels/op-runner.js'
import { noAdapter, openDevice } from './gpu.js'
import { expectSameOp, type OpCase } from './op-comparison.js'

describe.skipIf(noAdapter)('local keys and values on a GPU, as on the processor', () => {
  let device: WebGpuDevice
  beforeAll(async () => void (device = await openDevice()))

  test.each([
    { heads: 3, width: 2 },
    { heads: 2, width: 10 },
    { heads: 2, width: 16 },
    { heads: 4, width: 64 },
    { heads: 1, width: 128 },
  ])('$heads heads of $width: rotate, store, and drop the front, overlapping or not', async ({ heads, width }) => {
    const headStride = roundUpTo8(width)
    const inner = heads * headStride
    const [stride, capacity] = [3 * inner + 8, 64]
    for (const { rows, index, dropped = 0 } of [
      { rows: 1, index: 0 },
      { rows: 0, index: 9 },
      { rows: 1, index: 30 },
      { rows: 17, index: 5 },
      { rows: 64, index: 0 },
      { rows: 9, index: 13, dropped: 8 },
      { rows: 1, index: 40, dropped: 24 },
      { rows: 30, index: 7, dropped: 56 },
      { rows: 3, index: 0, dropped: 16 },
    ]) {
      const make = (): OpCase<Opcode.LocalStore> => {
        const memory = new OpMemory()
        const projected = memory.inputOutput(normals(rows * stride, 1), [{ rows, width: 2 * inner, stride }])
        const keys = memory.inputOutput(normals(inner * capacity, 2))
        const values = memory.inputOutput(normals(inner * capacity, 3))
        const fields = {
          projected,
          table: memory.input(normals(rows * 2 * width, 4)),
          keys,
          values,
          stride,
          heads,
          headWidth: width,
          headStride,
          capacity,
        }
        const chunk = {
          [DispatchHeader.Rows]: rows,
          [DispatchHeader.LocalIndex]: index,
          [DispatchHeader.LocalDrop]: dropped,
        }
        // keys may be rotated in place or not: they are not read from here
        const queries = range(rows).map((row) => new Region(projected.byteOffset + 4 * row * stride, inner))
        return { memory, opcode: Opcode.LocalStore, fields, chunk, floats: [keys, ...queries], exact: [values] }
      }
      await expectSameOp(device, make, `${rows} rows at ${index}, ${dropped} dropped`)
    }
  })
})
