/* What a GPU may say in the middle of a call, put into its mouth. */
import { afterAll, describe, expect, test } from 'vitest'
import type { Runtime } from '../../src/device/runtime.js'
import { Tensor } from '../../src/tensor.js'
import { expectSameBits } from '../support/bits.js'
import { makeLayer, published, x } from '../support/small-layers.js'
import { causalConfig, loadSmallModel, randomTokens } from '../support/small-models.js'
import { noAdapter, openGpuRuntime } from './gpu.js'

/**
 * Every error scope of a kind ends with an error, though there was none, until the function that it returns is called.
 */
function failScopes(gpu: GPUDevice, filter: GPUErrorFilter, message: string): () => void {
  const [push, pop] = [gpu.pushErrorScope.bind(gpu), gpu.popErrorScope.bind(gpu)]
  const open: GPUErrorFilter[] = []
  gpu.pushErrorScope = (next) => {
    open.push(next)
    push(next)
  }
  gpu.popErrorScope = async () => {
    const ended = open.pop()
    const error = await pop()
    return ended === filter ? { message } : error
  }
  return () => {
    gpu.pushErrorScope = push
    gpu.popErrorScope = pop
  }
}

describe.skipIf(noAdapter)('a GPU', () => {
  const runtimes: Runtime[] = []
  afterAll(() => Promise.all(runtimes.map((runtime) => runtime.dispose())))

  async function open() {
    const opened = await openGpuRuntime()
    runtimes.push(opened.runtime)
    return opened
  }

  test('without memory fails the call that needed it, with OUT_OF_MEMORY, and no later one', async () => {
    const { runtime, device } = await open()
    const layer = makeLayer(runtime)
    const expected = await layer.forward(x)
    // a call is tried again once, when the event loop has turned
    const recover = failScopes(device.gpu, 'out-of-memory', 'no room')
    // larger than what was given back
    const long = Tensor.randn([1, 1100, published.dim], 1)
    await expect(layer.forward(long)).rejects.toMatchObject({
      name: 'RoutedAttentionError',
      code: 'OUT_OF_MEMORY',
      message: expect.stringMatching(/needs \d+ bytes, which the GPU does not have: no room/),
    })
    recover()
    expectSameBits(await layer.forward(x), expected)
    expect((await layer.forward(long)).shape).toEqual(long.shape)
  })

  test('that rejects work fails the append that it was for, and the session is unchanged', async () => {
    const { runtime, device } = await open()
    const model = await loadSmallModel(runtime, causalConfig)
    const ids = randomTokens(20, causalConfig.num_tokens)
    const session = model.createSession()
    await session.append(ids.slice(0, 9))
    const saved = session.save()
    const recover = failScopes(device.gpu, 'validation', 'not like this')
    await expect(session.append(ids.slice(9))).rejects.toMatchObject({
      name: 'RoutedAttentionError',
      code: 'UNSUPPORTED',
      message: expect.stringContaining('not like this'),
    })
    recover()
    expect(session.position).toBe(9)
    expect(session.save()).toEqual(saved)
    expect(await session.append(ids.slice(9))).toEqual(await model.restoreSession(saved).append(ids.slice(9)))
  })

  test('whose driver rejects a kernel fails calls with UNSUPPORTED, not as if it were lost', async () => {
    const { runtime, device } = await open()
    const create = device.gpu.createComputePipelineAsync.bind(device.gpu)
    device.gpu.createComputePipelineAsync = () => Promise.reject(new Error('too long a shader'))
    const layer = makeLayer(runtime)
    await expect(layer.forward(x)).rejects.toMatchObject({
      name: 'RoutedAttentionError',
      code: 'UNSUPPORTED',
      message: expect.stringContaining('too long a shader'),
    })
    device.gpu.createComputePipelineAsync = create
    expect((await layer.forward(x)).shape).toEqual(x.shape)
  })
})
