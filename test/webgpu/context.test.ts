import { beforeAll, describe, test } from 'vitest'
import { DispatchHeader } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import type { WebGpuDevice } from '../../src/device/webgpu/webgpu-device.js'
import { placeInputs } from '../kernels/context-inputs.js'
import { gatherCases, gatherContextOp } from '../kernels/gather-context-op.js'
import { contextUpdates, headShapes } from '../kernels/op-cases.js'
import { OpMemory } from '../kernels/op-runner.js'
import { nullContextOp, updateCases, updateContextOp } from '../kernels/update-context-op.js'
import { noAdapter, openDevice } from './gpu.js'
import { expectSameOp, type OpCase } from './op-comparison.js'

describe.skipIf(noAdapter)('contexts on a GPU, as on the processor', () => {
  let device: WebGpuDevice
  beforeAll(async () => void (device = await openDevice()))

  test('begin with the null key/value at rank 0', async () => {
    for (const shape of headShapes) await expectSameOp(device, () => nullContextOp(shape), `heads of ${shape.width}`)
  })

  test('close the gaps of evicted tokens and append admitted ones', async () => {
    for (const options of updateCases) await expectSameOp(device, () => updateContextOp(options), JSON.stringify(options))
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
