import { beforeAll, describe, test } from 'vitest'
import type { WebGpuDevice } from '../../src/device/webgpu/webgpu-device.js'
import { attentionWeightsCases, attentionWeightsOp } from '../kernels/attention-weights-op.js'
import { noAdapter, openDevice } from './gpu.js'
import { expectSameOp } from './op-comparison.js'

describe.skipIf(noAdapter)('attention weights on a GPU', () => {
  let device: WebGpuDevice
  beforeAll(async () => void (device = await openDevice()))

  test('are those of the processor', async () => {
    for (const options of attentionWeightsCases) {
      const { heads, width, last, window } = options
      await expectSameOp(device, () => attentionWeightsOp(options), `${heads} heads of ${width}, ${window} keys up to ${last}`)
    }
  })
})
