import { afterAll, describe, expect, test } from 'vitest'
import type { Runtime } from '../../src/device/runtime.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { MixtureOfAutoregressiveAttention } from '../../src/model/layer.js'
import { Tensor } from '../../src/tensor.js'
import { largestDifference } from '../support/compare.js'
import { modelCases } from '../support/golden.js'
import { modelFiles } from '../support/models.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, partlyRoutedConfig, smallModel, smallModelFiles } from '../support/small-models.js'
import { noAdapter, openGpuRuntime } from './gpu.js'

const causal = modelCases().find(({ name }) => name.includes('causal')) ?? modelCases()[0]!
const ids = causal.inputIds

describe.skipIf(noAdapter)('sessions on a GPU', () => {
  const runtimes: Runtime[] = []
  afterAll(() => Promise.all(runtimes.map((runtime) => runtime.dispose())))

  type Opened = Awaited<ReturnType<typeof openGpuRuntime>>
  /** What tests share that leave the GPU as it was: a driver compiles its pipelines for seconds. */
  let shared: Opened | undefined

  async function open({ own = false, replaceable = false } = {}) {
    const opened = own ? await openGpuRuntime({ replaceable }) : (shared ??= await openGpuRuntime())
    if (!runtimes.includes(opened.runtime)) runtimes.push(opened.runtime)
    return { ...opened, model: await LanguageModel.load(modelFiles(causal), { runtime: opened.runtime }) }
  }

  test('give the same bits however the tokens are split, through saving, restoring and cloning', async () => {
    const { model } = await open()
    const some = ids.slice(0, 24)
    const whole = await model.createSession().append(some)
    const session = model.createSession()
    for (let at = 0, op = 1; at < some.length; at += op, op = (op % 7) + 1) {
      const copy = at % 3 === 0 ? model.restoreSession(session.save()) : session.clone()
      const next = some.slice(at, at + op)
      const logits = await session.append(next)
      expect(await copy.append(next), `tokens ${at} to ${at + op}`).toEqual(logits)
      copy.dispose()
    }
    expect(await session.append([])).toEqual(whole)
  })

  test('are inspected as on the processor, wherever they were saved', async () => {
    const files = smallModelFiles(smallModel({ ...partlyRoutedConfig, num_tokens: 64 }))
    const words = Array.from({ length: 45 }, (_, i) => (i * 37) % 64)
    const { runtime } = await open()
    const model = await LanguageModel.load(files, { runtime })
    using processor = openRuntime('relaxed')
    const other = await LanguageModel.load(files, { runtime: processor })
    for (const length of [7, 29]) {
      const [session, there] = [model.createSession(), other.createSession()]
      await Promise.all([session, there].map((each) => each.append(words.slice(0, length))))
      const expected = await there.inspect()
      for (const each of [session, model.restoreSession(session.save()), model.restoreSession(there.save())]) {
        const saved = each.save()
        const inspection = await each.inspect()
        expect(each.save()).toEqual(saved)
        const close = (actual: Float32Array | undefined, weights: Float32Array | undefined) =>
          expect(largestDifference(actual!, weights!)).toBeLessThan(1e-4)
        inspection.layers.forEach((layer, index) => {
          const { localWeights, routerScores, routedWeights, ...exact } = expected.layers[index]!
          expect(layer).toMatchObject(exact)
          layer.localWeights.forEach((weights, head) => close(weights, localWeights[head]))
          layer.routerScores.forEach((scores, kind) => close(scores, routerScores[kind]))
          layer.routedWeights.forEach((heads, expert) => heads?.forEach((weights, head) => close(weights, routedWeights[expert]![head])))
        })
        expect({ ...inspection, layers: [] }).toEqual({ ...expected, layers: [] })
      }
    }
  })

  test.each([
    ['all blocks routed', causalConfig],
    ['some blocks routed', partlyRoutedConfig],
  ])(
    'move between the GPU and the processor (%s)',
    async (_, config) => {
      // words that are not repeated: ties between equal ones are broken by last bits, which differ from device to device
      const files = smallModelFiles(smallModel({ ...config, num_tokens: 64 }))
      const words = Array.from({ length: 60 }, (_, i) => (i * 37) % 64)
      const { runtime } = await open()
      const model = await LanguageModel.load(files, { runtime })
      using processor = openRuntime('relaxed')
      const other = await LanguageModel.load(files, { runtime: processor })
      const session = model.createSession()
      await session.append(words.slice(0, 31))
      const there = other.restoreSession(session.save())
      const onGpu = await session.append(words.slice(31, 50))
      expect(largestDifference(onGpu, await there.append(words.slice(31, 50)))).toBeLessThan(1e-4)
      const back = model.restoreSession(there.save())
      expect(back.position).toBe(50)
      expect(largestDifference(await session.append(words.slice(50)), await back.append(words.slice(50)))).toBeLessThan(1e-4)
    },
    400_000,
  )

  test('survive the loss of the GPU: saved unchanged, and continued on the CPU if that is allowed', async () => {
    const { runtime, device, model } = await open({ own: true, replaceable: true })
    // whichever was quicker: the session's continuation must be right from either
    const half = ids.length >> 1
    const session = model.createSession()
    const before = await session.append(ids.slice(0, half))
    device.gpu.destroy()
    await device.gpu.lost
    await Promise.resolve()
    expect(await session.append([])).toEqual(before)
    expect(session.save().length).toBeGreaterThan(0)
    const after = await session.append(ids.slice(half))
    const numTokens = model.config.numTokens
    expect(largestDifference(after, causal.expected.logits.data.subarray(-numTokens))).toBeLessThan(8 * causal.float32Error + 1e-5)
    expect(runtime.info.device).toBe('wasm')
    expect(runtime.info.unavailable.webgpu).toMatch(/lost|slower/)
    const layer = new MixtureOfAutoregressiveAttention(runtime, {
      dim: 16,
      numRoutedQueries: 2,
      numRoutedKeyValues: 2,
      localAttnWindowSize: 4,
    })
    expect((await layer.forward(Tensor.randn([1, 20, 16]))).shape).toEqual([1, 20, 16])
  })

  test('report the loss of a GPU that nothing replaces at each call, and can still be saved', async () => {
    const { device, model } = await open({ own: true })
    const session = model.createSession()
    await session.append(ids.slice(0, 5))
    const saved = session.save()
    device.gpu.destroy()
    await device.gpu.lost
    await Promise.resolve()
    for (let call = 0; call < 2; call++) {
      await expect(session.append(ids.slice(5, 7))).rejects.toMatchObject({ name: 'RoutedAttentionError', code: 'DEVICE_LOST' })
    }
    expect(session.position).toBe(5)
    expect(session.save()).toEqual(saved)
    using processor = openRuntime('relaxed')
    const other = await LanguageModel.load(modelFiles(causal), { runtime: processor })
    expect((await other.restoreSession(saved).append(ids.slice(5, 7))).length).toBe(model.config.numTokens)
  })

  test('release all memory', async () => {
    const { runtime, device } = await open()
    const before = device.used
    const model = await LanguageModel.load(modelFiles(causal), { runtime })
    for (let round = 0; round < 2; round++) {
      using session = model.createSession()
      await session.append(ids)
      session.clone().dispose()
    }
    const retained = device.used
    using session = model.createSession()
    await session.append(ids)
    session.dispose()
    expect(device.used).toBe(retained)
    model.dispose()
    expect(device.used).toBe(before)
    expect(runtime.info.device).toBe('webgpu')
    expect(runtime.info.adapter).toBeTypeOf('string')
  })
})
