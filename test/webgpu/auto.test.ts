/* A runtime that has a GPU and the processor, and measures which to use: here by a clock that the tests turn on. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, type MockInstance, test, vi } from 'vitest'
import { type Device, DispatchHeader } from '../../src/device/device.js'
import type { Runtime } from '../../src/device/runtime.js'
import { RoutedAttentionError } from '../../src/errors.js'
import type { WebGpuDevice } from '../../src/device/webgpu/webgpu-device.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { initialLayerParameters } from '../../src/model/parameters/state-dict.js'
import { expectSameBits } from '../support/bits.js'
import { openRuntime } from '../support/runtimes.js'
import { causal, makeLayer, x } from '../support/small-layers.js'
import { causalConfig, smallModel, smallModelFiles } from '../support/small-models.js'
import { noAdapter, openGpuRuntime } from './gpu.js'

const files = smallModelFiles(smallModel({ ...causalConfig, num_tokens: 64, depth: 1, routed_window_size: 128 }))
const words = Array.from({ length: 150 }, (_, i) => (i * 37) % 64)

describe.skipIf(noAdapter)('a runtime with a choice of devices', () => {
  let clock = 0
  let runtime: Runtime
  let gpu: WebGpuDevice
  let processor: Device
  let unpriced: Map<Device, Device['run']>

  // one for all tests: a driver compiles its pipelines for seconds
  beforeAll(async () => {
    ;({ runtime, device: gpu } = await openGpuRuntime({ replaceable: true }))
    processor = runtime.candidates[1]!
    unpriced = new Map([gpu, processor].map((device) => [device, device.run.bind(device)]))
  })
  afterAll(() => runtime.dispose())

  beforeEach(() => void vi.spyOn(performance, 'now').mockImplementation(() => clock))
  afterEach(() => void vi.restoreAllMocks())

  /** Lets each run on a device take so many milliseconds, and so many more for each of its tokens. */
  function price(device: Device, perRun: number, perToken: number): MockInstance<Device['run']> {
    const run = unpriced.get(device)!
    return vi.spyOn(device, 'run').mockImplementation((program, dispatches) => {
      for (const { header } of [dispatches].flat()) clock += perRun + perToken * header[DispatchHeader.Rows]!
      return run(program, dispatches)
    })
  }

  test('places a model on the device that is faster at its workload', async () => {
    const onGpu = price(gpu, 10, 0)
    const onProcessor = price(processor, 1, 1)
    const ranOn = async (model: LanguageModel) => {
      for (const runs of [onGpu, onProcessor]) runs.mockClear()
      await model.forward(words)
      return [onGpu, onProcessor].map((runs) => runs.mock.calls.length > 0)
    }

    const forDecoding = await LanguageModel.load(files, { runtime })
    expect(runtime.info).toMatchObject({
      device: 'wasm',
      unavailable: { webgpu: 'slower here: a token took 10.00 ms on the GPU, 2.00 ms on the processor' },
    })
    expect(runtime.info).not.toHaveProperty('adapter')

    // of a long text the GPU takes 128 tokens at once, in the time of one
    const forTexts = await LanguageModel.load(files, { runtime, workload: 'prefill' })
    expect(runtime.info).toMatchObject({ device: 'webgpu', unavailable: {} })
    expect(runtime.info).toHaveProperty('adapter')
    expect(await ranOn(forTexts)).toEqual([true, false])
    expect(await ranOn(forDecoding)).toEqual([false, true])
  })

  test('places a layer on the device that is faster at its first call, and packs its weights once for each', async () => {
    using alone = openRuntime('relaxed')
    const expected = await makeLayer(alone, causal).forward(x)
    price(gpu, 10, 0)
    price(processor, 1, 0)
    const packed = [gpu, processor].map((device) => vi.spyOn(device, 'packWeights'))
    const layer = makeLayer(runtime, causal)
    expectSameBits(await layer.forward(x), expected)
    expect(runtime.info.device).toBe('wasm')
    expect(runtime.info.unavailable.webgpu).toMatch(/^slower here: a forward took \d+\.00 ms on the GPU, \d+\.00 ms on the processor$/)
    expectSameBits(await layer.forward(x), expected)
    expect(packed.map(({ mock }) => mock.calls.length)).toEqual([1, 1])

    price(processor, 100, 0)
    expect((await makeLayer(runtime, causal).forward(x)).shape).toEqual(x.shape)
    expect(runtime.info).toMatchObject({ device: 'webgpu', unavailable: {} })
    // the first one's choice was made
    expectSameBits(await layer.forward(x), expected)
  })

  test('uses the parameters that a layer was given while it measured', async () => {
    using alone = openRuntime('relaxed')
    const other = makeLayer(alone, causal, 2)
    price(gpu, 10, 0)
    price(processor, 1, 0)
    const layer = makeLayer(runtime, causal)
    const first = layer.forward(x)
    layer.loadStateDict(initialLayerParameters(other.options, 2))
    await first
    expect(runtime.info.device).toBe('wasm')
    expectSameBits(await layer.forward(x), await other.forward(x))
  })

  test.each(['the GPU', 'the processor'] as const)('takes the other device if %s fails while being measured', async (failing) => {
    price(gpu, 1, 0)
    price(processor, 1, 0)
    const [device, other] = failing === 'the GPU' ? [gpu, 'wasm'] : [processor, 'webgpu']
    for (const use of [
      async () => void (await makeLayer(runtime, causal).forward(x)),
      async () => void (await LanguageModel.load(files, { runtime })),
    ]) {
      runtime.commitTo(device, 'none was chosen yet')
      vi.spyOn(device, 'run').mockRejectedValueOnce(new RoutedAttentionError('OUT_OF_MEMORY', 'no room for it'))
      await use()
      expect(runtime.info.device).toBe(other)
      if (failing === 'the GPU')
        expect(runtime.info.unavailable.webgpu).toMatch(/^slower here: .* took the GPU: no room for it, \d+\.00 ms on the processor$/)
    }
  })

  test("continues on the CPU when the GPU is lost, from a session's last completed append", async () => {
    using alone = openRuntime('relaxed')
    const onGpu = price(gpu, 1, 0)
    price(processor, 100, 0)
    const layer = makeLayer(runtime, causal)
    await layer.forward(x)
    const model = await LanguageModel.load(files, { runtime })
    const session = model.createSession()
    const last = await session.append(words.slice(0, 70))
    const saved = session.save()
    expect(runtime.info.device).toBe('webgpu')

    onGpu.mockImplementationOnce((program, dispatches) => {
      const running = unpriced.get(gpu)!(program, dispatches)
      gpu.gpu.destroy()
      return running
    })
    await expect(session.append(words.slice(70, 75))).rejects.toMatchObject({ name: 'RoutedAttentionError', code: 'DEVICE_LOST' })
    expect(session.position).toBe(70)
    expect(session.save()).toEqual(saved)
    expect(await session.append([])).toEqual(last)

    const twin = (await LanguageModel.load(files, { runtime: alone })).restoreSession(saved)
    expect(await session.append(words.slice(70))).toEqual(await twin.append(words.slice(70)))
    expectSameBits(await layer.forward(x), await makeLayer(alone, causal).forward(x))
    expect(runtime.info).toMatchObject({ device: 'wasm', unavailable: { webgpu: expect.stringMatching(/^the GPU was lost: /) } })
    expect(runtime.info).not.toHaveProperty('adapter')
  })
})
