/** What a load does with a large model's weights it does in parts, between which the event loop may turn. */
import { expect, test, vi } from 'vitest'
import { atOnce, gradually } from '../../src/event-loop.js'
import { WeightFormat } from '../../src/device/device.js'
import type { StoredTensor } from '../../src/io/safetensors.js'
import { Checksum } from '../../src/model/parameters/checksum.js'
import { parseModelConfig } from '../../src/model/config/config.js'
import { fingerprintOf } from '../../src/model/parameters/fingerprint.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { nonFiniteHalves } from '../../src/model/parameters/stored-parameters.js'
import { planModelWeights } from '../../src/plan/memory/model-weights.js'
import { outcomeOf } from '../support/interruptions.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, randomTokens, smallModel, smallModelFiles } from '../support/small-models.js'

/** As many parts as a generator has. */
function partsOf(work: Generator<void, unknown>): number {
  let parts = 0
  while (!work.next().done) parts++
  return parts
}

const MEBIBYTE = 2 ** 20
const large: StoredTensor = { dtype: 'F16', shape: [1024, 16 * 1024], bytes: new Uint8Array(32 * MEBIBYTE) }

test('weights are looked through, told apart and packed some mebibytes at a time', () => {
  using runtime = openRuntime('relaxed')
  const { device } = runtime
  const tensors = new Map([['weight', large]])
  expect(partsOf(nonFiniteHalves(tensors, device.scanner))).toBeGreaterThanOrEqual(8)
  const config = parseModelConfig(causalConfig)
  expect(partsOf(fingerprintOf(config, tensors, device.scanner))).toBeGreaterThanOrEqual(8)
  const wide = parseModelConfig({ ...causalConfig, num_tokens: 2 ** 18, dim: 32 })
  const { layout } = planModelWeights(wide, () => WeightFormat.Float16)
  const zeros = new Uint8Array(2 ** 18 * 32 * 2)
  const { used } = runtime.info.memory
  expect(partsOf(device.packInParts(layout, () => ({ format: WeightFormat.Float16, bytes: zeros })))).toBeGreaterThanOrEqual(32)
  expect(runtime.info.memory.used).toBeGreaterThan(used)
})

test('a checksum is that of the whole, and does not depend on who mixes', () => {
  using runtime = openRuntime('relaxed')
  const bytes = Uint8Array.from({ length: 9 * MEBIBYTE + 5 }, (_, i) => i * 7 + (i >> 9))
  const [plain, mixed] = [new Checksum(), new Checksum(runtime.device.scanner)]
  expect(mixed.update(bytes).digest()).toEqual(plain.update(bytes).digest())
})

test('packing that is ended between two parts has taken nothing', () => {
  using runtime = openRuntime('relaxed')
  const { layout } = planModelWeights(parseModelConfig(causalConfig), () => WeightFormat.Float32)
  const { used } = runtime.info.memory
  const bytes = new Uint8Array(2 ** 16)
  const total = partsOf(runtime.device.packInParts(layout, () => ({ format: WeightFormat.Float32, bytes })))
  const whole = runtime.info.memory.used
  for (let parts = 1; parts < total; parts++) {
    const packing = runtime.device.packInParts(layout, () => ({ format: WeightFormat.Float32, bytes }))
    for (let i = 0; i < parts; i++) packing.next()
    packing.return(undefined as never)
    expect(runtime.info.memory.used).toBe(whole)
  }
  expect(whole).toBeGreaterThan(used)
})

test('work in parts ends with what its check throws, and gives back what it holds', async () => {
  let held = true
  function* work(): Generator<void, string> {
    try {
      for (;;) {
        for (const end = performance.now() + 5; performance.now() < end;);
        yield
      }
    } finally {
      held = false
    }
  }
  const check = vi.fn(() => {
    throw new Error('enough')
  })
  await expect(gradually(work(), check)).rejects.toThrow('enough')
  expect(check).toHaveBeenCalledTimes(1)
  expect(held).toBe(false)
  function* short(): Generator<void, number> {
    yield
    return 7
  }
  expect(atOnce(short())).toBe(7)
  expect(await gradually(short(), () => undefined)).toBe(7)
})

test('a load that is aborted, or whose bytes are transferred or runtime disposed of, while its weights are packed ends so, and keeps nothing', async () => {
  // large enough that the bytes are not copied as they are taken
  const made = smallModelFiles(smallModel({ ...causalConfig, num_tokens: 8000, dim: 256 }))
  const acts = ['abort', 'transfer', 'dispose'] as const
  for (const act of acts) {
    const runtime = openRuntime('relaxed')
    const { used } = runtime.info.memory
    const { device } = runtime
    const files = new Map([...made].map(([name, bytes]) => [name, bytes.slice()]))
    const controller = new AbortController()
    const pack = device.packInParts.bind(device)
    vi.spyOn(device, 'packInParts').mockImplementation(function* (layout, parameters) {
      const work = pack(layout, parameters)
      try {
        for (let part = 0; ; part++) {
          const { done, value } = work.next()
          if (done) return value
          if (part === 2) {
            queueMicrotask(() => {
              if (act === 'abort') controller.abort('enough')
              else if (act === 'dispose') void runtime.dispose()
              else structuredClone(null, { transfer: [files.get('model.safetensors')!.buffer] })
            })
          }
          // long enough that the event loop is due to turn
          for (const end = performance.now() + 15; performance.now() < end;);
          yield
        }
      } finally {
        work.return(undefined as never)
      }
    })
    const outcome = await outcomeOf(LanguageModel.load(files, { runtime, signal: controller.signal }))
    const reasons = { abort: 'enough', transfer: { code: 'BAD_FILE' }, dispose: { code: 'DISPOSED' } }
    expect(outcome, act).toMatchObject({ reason: reasons[act] })
    if (act !== 'dispose') expect(runtime.info.memory.used).toBe(used)
    await runtime.dispose()
    expect(runtime.info.memory.used).toBe(0)
  }
})

test('a model that is loaded part by part answers as one', async () => {
  using runtime = openRuntime('relaxed')
  const files = smallModelFiles(smallModel(causalConfig))
  const [a, b] = [await LanguageModel.load(files, { runtime }), await LanguageModel.load(files, { runtime })]
  const tokens = randomTokens(30, causalConfig.num_tokens)
  expect((await a.forward(tokens)).data).toEqual((await b.forward(tokens)).data)
  expect(b.restoreSession(a.createSession().save()).position).toBe(0)
})
