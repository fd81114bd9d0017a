import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Runtime } from '../../src/device/runtime.js'
import { layerCases } from '../support/golden.js'
import { expectGoldenLayer } from '../support/golden-checks.js'
import { noAdapter, openGpuRuntime } from './gpu.js'

describe.skipIf(noAdapter)('on a GPU', () => {
  let runtime: Runtime
  beforeAll(async () => void ({ runtime } = await openGpuRuntime({ chunkRows: 512 })))
  afterAll(() => runtime.dispose())

  test.each(layerCases().map((golden) => [golden.name, golden] as const))(
    'the layer reproduces %s, with exactly the same routing',
    async (_name, golden) => {
      const { layer, trace } = await expectGoldenLayer(runtime, golden, 8 * golden.float32Error + 1e-5)
      // a software driver takes long over the large ones
      if (golden.input.data.length <= 20_000) {
        expect((await layer.forward(golden.input, golden.forwardOptions)).data).toEqual(trace.out.data)
      }
      layer.dispose()
    },
    600_000,
  )
})
