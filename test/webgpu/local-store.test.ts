import { beforeAll, describe, test } from 'vitest'
import type { WebGpuDevice } from '../../src/device/webgpu/webgpu-device.js'
import { localStoreOp, localStorePlaces, localStoreShapes } from '../kernels/local-store-op.js'
import { noAdapter, openDevice } from './gpu.js'
import { expectSameOp } from './op-comparison.js'

describe.skipIf(noAdapter)('local keys and values on a GPU, as on the processor', () => {
  let device: WebGpuDevice
  beforeAll(async () => void (device = await openDevice()))

  test.each(localStoreShapes)('$heads heads of $width: are rotated, stored and dropped from the front', async (shape) => {
    for (const place of localStorePlaces) await expectSameOp(device, () => localStoreOp({ ...shape, ...place }), JSON.stringify(place))
  })
})
