import { beforeAll, describe, test } from 'vitest'
import { DispatchHeader } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import type { WebGpuDevice } from '../../src/device/webgpu/webgpu-device.js'
import { createRandom } from '../../src/random.js'
import { headRows, keyIndex, packHeads, valueIndex } from '../kernels/attention-twin.js'
import { placeInputs } from '../kernels/context-inputs.js'
import { range } from '../kernels/float32.js'
import { gatherCases, gatherContextOp } from '../kernels/gather-context-op.js'
import { contextUpdates, headShapes, type HeadShape } from '../kernels/op-cases.js'
import { OpMemory } from '../kernels/op-runner.js'
import { noAdapter, openDevice } from './gpu.js'
import { expectSameOp, type OpCase } from './op-comparison.js'

/** Rows of [k | v]. */
function pairs(count: number, { heads, width, headStride }: HeadShape, seed: number): Float32Array {
  return Float32Array.from(headRows(count, 2 * heads, width, headStride, createRandom(seed).normal).flatMap((row) => [...row]))
}

/** A context of `count` ranks, its free places NaN. */
function placeContext(memory: OpMemory, count: number, { heads, width, headStride }: HeadShape, capacity: number, contexts = 1) {
  const placed = (index: typeof keyIndex, seed: number) => {
    const rows = headRows(count, heads, width, headStride, createRandom(seed).normal)
    const packed = [...packHeads(index, rows, heads, headStride, capacity)]
    return memory.inputOutput(Float32Array.from(range(contexts).flatMap(() => packed)))
  }
  return { keys: placed(keyIndex, 11), values: placed(valueIndex, 12) }
}

describe.skipIf(noAdapter)('contexts on a GPU, as on the processor', () => {
  let device: WebGpuDevice
  beforeAll(async () => void (device = await openDevice()))

  test('begin with the null key/value at rank 0', async () => {
    for (const shape of headShapes) {
      const make = (): OpCase<Opcode.NullContext> => {
        const memory = new OpMemory()
        const { keys, values } = placeContext(memory, 3, shape, 16)
        const fields = {
          null: memory.input(pairs(1, shape, 1)),
          keys,
          values,
          heads: shape.heads,
          headStride: shape.headStride,
          capacity: 16,
        }
        return { memory, opcode: Opcode.NullContext, fields, exact: [keys, values] }
      }
      await expectSameOp(device, make, `heads of ${shape.width}`)
    }
  })

  test('close the gaps of evicted tokens and append admitted ones', async () => {
    const capacity = 136
    for (const shape of headShapes) {
      for (const [before, retained, admitted] of contextUpdates) {
        const make = (): OpCase<Opcode.UpdateContext> => {
          const memory = new OpMemory()
          const { keys, values } = placeContext(memory, before + 1, shape, capacity)
          const fields = {
            retained: memory.input(Int32Array.from(retained)),
            retainedCount: memory.count(retained.length),
            admittedCount: memory.count(admitted),
            projected: memory.input(pairs(admitted, shape, 3)),
            keys,
            values,
            heads: shape.heads,
            headStride: shape.headStride,
            capacity,
          }
          const chunk = { [DispatchHeader.ClosingRows]: 1 }
          return { memory, opcode: Opcode.UpdateContext, fields, chunk, exact: [keys, values] }
        }
        await expectSameOp(device, make, `${retained.length} of ${before} kept, ${admitted} added, heads of ${shape.width}`)
      }
    }
  })

  test('append to existing tokens if no list says which are retained', async () => {
    for (const shape of headShapes) {
      for (const [retained, admitted] of [
        [0, 5],
        [9, 40],
        [64, 64],
      ] as const) {
        const make = (): OpCase<Opcode.UpdateContext> => {
          const memory = new OpMemory()
          const { keys, values } = placeContext(memory, retained + 1, shape, 136)
          const fields = {
            retainedCount: memory.count(retained),
            admittedCount: memory.count(admitted),
            projected: memory.input(pairs(admitted, shape, 3)),
            keys,
            values,
            heads: shape.heads,
            headStride: shape.headStride,
            capacity: 136,
          }
          const chunk = { [DispatchHeader.ClosingRows]: 1 }
          return { memory, opcode: Opcode.UpdateContext, fields, chunk, exact: [keys, values] }
        }
        await expectSameOp(device, make, `${admitted} behind ${retained}, heads of ${shape.width}`)
      }
    }
  })

  test('keep the inputs of their keys and values, rank by rank', async () => {
    for (const stride of [8, 24, 256]) {
      for (const [before, retained, admitted] of contextUpdates) {
        const make = (): OpCase<Opcode.UpdateContextInputs> => {
          const memory = new OpMemory()
          const { fields, inputs } = placeInputs(memory, before, retained, admitted, stride)
          const chunk = { [DispatchHeader.ClosingRows]: 1 }
          return { memory, opcode: Opcode.UpdateContextInputs, fields, chunk, exact: [inputs] }
        }
        await expectSameOp(device, make, `${retained.length} of ${before} kept, ${admitted} added, rows of ${stride}`)
      }
    }
  })

  test('gather, for every window that begins, the selected keys and values after the null ones, values times their scores', async () => {
    for (const options of gatherCases) await expectSameOp(device, () => gatherContextOp(options), JSON.stringify(options))
  })
})
