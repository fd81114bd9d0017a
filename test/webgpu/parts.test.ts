/* Buffers larger than what WebGPU binds at once: here that is made small. */
import { afterAll, describe, expect, test } from 'vitest'
import type { Runtime } from '../../src/device/runtime.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { Tensor } from '../../src/tensor.js'
import { expectSameBits } from '../support/bits.js'
import { makeLayer } from '../support/small-layers.js'
import { causalConfig, randomTokens, smallModel, smallModelFiles } from '../support/small-models.js'
import { noAdapter, openGpuRuntime } from './gpu.js'

const KIB = 1 << 10

describe.skipIf(noAdapter)('buffers split into parts', () => {
  const runtimes: Runtime[] = []
  afterAll(() => Promise.all(runtimes.map((runtime) => runtime.dispose())))

  async function open(partBytes?: number): Promise<Runtime> {
    const { runtime } = await openGpuRuntime({ partBytes })
    runtimes.push(runtime)
    return runtime
  }

  test('hold the inputs and the weights of a layer, whose outputs have the same bits', async () => {
    const options = { dim: 64, heads: 2, dimHead: 32, numRoutedQueries: 5, numRoutedKeyValues: 20, localAttnWindowSize: 32 }
    const x = Tensor.randn([2, 300, 64], 1)
    const [whole, parts] = [await open(), await open(128 * KIB)]
    // 150 kB of input, 250 kB of weights
    const expected = await makeLayer(whole, options).forward(x)
    expectSameBits(await makeLayer(parts, options).forward(x), expected)
  })

  test('hold the weights and the state of a model', async () => {
    const files = smallModelFiles(
      smallModel({ ...causalConfig, depth: 1, dim: 64, num_tokens: 1200, dim_head: 32, num_routed_key_values: 300 }),
    )
    const ids = randomTokens(30, 1200)
    const [whole, parts] = [await open(), await open(256 * KIB)]
    const [expected, actual] = await Promise.all([whole, parts].map((runtime) => LanguageModel.load(files, { runtime })))
    const [a, b] = [actual!.createSession(), expected!.createSession()]
    for (const cut of [ids.slice(0, 11), ids.slice(11)]) expect(await a.append(cut)).toEqual(await b.append(cut))
    expect(a.save()).toEqual(b.save())
  })

  test('are rejected if one op would need more of them than can be bound, and the runtime remains usable', async () => {
    const runtime = await open(64 * KIB)
    const options = { dim: 64, heads: 2, dimHead: 32, numRoutedQueries: 2, numRoutedKeyValues: 2, localAttnWindowSize: 16 }
    const layer = makeLayer(runtime, options)
    await expect(layer.forward(Tensor.zeros([1, 3000, 64]))).rejects.toMatchObject({ name: 'RoutedAttentionError', code: 'OUT_OF_MEMORY' })
    expect((await layer.forward(Tensor.zeros([1, 40, 64]))).shape).toEqual([1, 40, 64])
  })
})
