/* A layer on a GPU answers each sequence of a batch as it answers it alone, to the bit. */
import { beforeAll, describe, test } from 'vitest'
import type { MixtureOfAutoregressiveAttention } from '../../src/model/layer.js'
import { Tensor } from '../../src/tensor.js'
import { normals, range } from '../kernels/float32.js'
import { sequences } from '../support/arbitraries.js'
import { expectSameBits, expectSameTrace, traceNames } from '../support/bits.js'
import { kinds, makeLayer } from '../support/small-layers.js'
import { randomTokens } from '../support/small-models.js'
import { noAdapter, openGpu, openGpuRuntime } from './gpu.js'

describe.skipIf(noAdapter)('on one GPU', () => {
  let gpu: GPUDevice
  beforeAll(async () => void (gpu = await openGpu()))

  test.each(Object.entries(kinds))(
    'a %s layer gives the same bits for short sequences alone and together, in chunks of any length',
    async (_kind, options) => {
      const words = range(5).map((word) => normals(options.dim, word + 1))
      const x = Tensor.zeros([2, 43, options.dim])
      randomTokens(2 * 43, words.length).forEach((id, row) => x.data.set(words[id]!, row * options.dim))
      const layerIn = async (chunkRows: number): Promise<MixtureOfAutoregressiveAttention> =>
        makeLayer((await openGpuRuntime({ chunkRows, on: gpu })).runtime, { ...options, cosineSimRouting: true })
      const [layer, inSmallPieces] = [await layerIn(128), await layerIn(8)]
      const all = await layer.forward(x, { trace: true })
      expectSameTrace(await inSmallPieces.forward(x, { trace: true }), all)
      for (const [b, one] of [layer, inSmallPieces].entries()) {
        const alone = await one.forward(sequences(x, b), { trace: true })
        for (const name of traceNames) expectSameBits(alone[name], sequences(all[name], b))
      }
    },
    400_000,
  )
})
