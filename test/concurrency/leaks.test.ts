import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { Runtime } from '../../src/device/runtime.js'
import { MixtureOfAutoregressiveAttention } from '../../src/model/layer.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { Tensor } from '../../src/tensor.js'
import { expectRejects, expectThrows } from '../support/errors.js'
import { afterRun, countRuns, failAllocation, outcomeOf } from '../support/interruptions.js'
import { loadNovels, novelsFolder } from '../support/models.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, loadSmallModel, publishedConfig, randomTokens, smallModel, smallModelFiles } from '../support/small-models.js'

const tokens = randomTokens(50, causalConfig.num_tokens)
const kinds = [
  ['strictly causal', causalConfig],
  ['published', publishedConfig],
] as const

const usedBy = (runtime: Runtime) => runtime.info.memory.used

/** Every use of a model, some of it left unfinished. */
async function useModel(model: LanguageModel): Promise<void> {
  await model.forward(tokens)
  await model.forward([])
  await model.evaluate(tokens, { chunk: 20 })
  for await (const { id } of model.generate(tokens, { maxTokens: 5 })) expect(id).toBeGreaterThanOrEqual(0)
  const session = model.createSession()
  await session.append(tokens)
  const clone = session.clone()
  const restored = model.restoreSession(session.save())
  await Promise.all([clone.append([1]), restored.append([2]), expectRejects(session.append([-1]), 'BAD_ARGUMENT')])
  if (model.config.layer.causal) await Promise.all([session.inspect(), restored.inspect()])
  for (const each of [session, clone, restored]) each.dispose()
}

describe.each(kinds)('a %s model', (_kind, config) => {
  test('uses no more memory round after round', async () => {
    using runtime = openRuntime('baseline', 2)
    const empty = usedBy(runtime)
    let reserved = 0
    for (let round = 0; round < 12; round++) {
      const model = await loadSmallModel(runtime, config, round)
      expect(usedBy(runtime)).toBeGreaterThan(empty)
      await useModel(model)
      const warm = usedBy(runtime)
      await useModel(model)
      expect(usedBy(runtime)).toBe(warm)
      model.dispose()
      model.dispose()
      expect(usedBy(runtime), `round ${round}`).toBe(empty)
      if (round === 2) ({ reserved } = runtime.info.memory)
    }
    expect(runtime.info.memory.reserved).toBe(reserved)
  })

  test('disposes of its sessions and unfinished generations, and the runtime of everything', async () => {
    const runtime = openRuntime('baseline')
    const empty = usedBy(runtime)
    const open = async () => {
      const model = await loadSmallModel(runtime, config)
      const session = model.createSession()
      await session.append(tokens)
      session.clone()
      await model.generate(tokens).next()
      return model
    }
    const model = await open()
    model[Symbol.dispose]()
    expect(usedBy(runtime)).toBe(empty)
    await open()
    await open()
    await runtime.dispose()
    await runtime.dispose()
    expect(usedBy(runtime)).toBeLessThanOrEqual(empty)
  })

  test('releases what a generation allocated, however it ends', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, config)
    await useModel(model)
    const before = usedBy(runtime)

    for await (const token of model.generate(tokens)) if (token) break
    expect(usedBy(runtime)).toBe(before)

    const thrown = new Error('the reader of the tokens fails')
    const reading = async () => {
      for await (const token of model.generate(tokens)) if (token) throw thrown
    }
    expect(await outcomeOf(reading())).toEqual({ reason: thrown })
    expect(usedBy(runtime)).toBe(before)

    const returned = model.generate(tokens)
    await returned.next()
    await returned.return()
    const begun = model.generate(tokens) // never asked for a token
    await begun.return()
    expect(usedBy(runtime)).toBe(before)

    for (const act of ['abort', 'return'] as const) {
      const controller = new AbortController()
      const generation = model.generate(tokens, { signal: controller.signal })
      await generation.next()
      const pending = outcomeOf(generation.next())
      if (act === 'abort') controller.abort('enough')
      else await generation.return()
      await pending
      await generation.return()
      expect(usedBy(runtime)).toBe(before)
    }

    expectThrows(() => model.generate([]), 'BAD_ARGUMENT')
    expectThrows(() => model.generate(tokens, { topK: 0 }), 'BAD_ARGUMENT')
    expectThrows(() => model.generate('text'), 'UNSUPPORTED')
    expect(usedBy(runtime)).toBe(before)
  })

  test('releases what a call allocated, wherever it is aborted', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, config)
    await useModel(model)
    const before = usedBy(runtime)
    const runs = await countRuns(runtime, () => model.evaluate(tokens, { chunk: 30 }))
    for (let nth = 1; nth <= runs; nth += 1 + Math.floor(runs / 20)) {
      const controller = new AbortController()
      const undo = afterRun(runtime, nth, () => controller.abort(nth))
      const { signal } = controller
      const session = model.createSession()
      await Promise.all(
        [model.evaluate(tokens, { chunk: 30, signal }), session.append(tokens, { signal })].map((call: Promise<unknown>) =>
          outcomeOf(call),
        ),
      )
      undo()
      session.dispose()
      expect(usedBy(runtime), `aborted at run ${nth}`).toBe(before)
    }
  })

  test('if disposed of during pending work, releases everything once that has ended', async () => {
    using runtime = openRuntime('baseline')
    const empty = usedBy(runtime)
    for (let nth = 1; nth < 40; nth += 4) {
      const model = await loadSmallModel(runtime, config)
      const session = model.createSession()
      const undo = afterRun(runtime, nth, () => model.dispose())
      const calls: Promise<unknown>[] = [
        model.forward(tokens),
        session.append(tokens),
        session.append(tokens),
        model.evaluate(tokens),
        model.generate(tokens).next(),
      ]
      await Promise.all(calls.map(outcomeOf))
      undo()
      model.dispose()
      expect(usedBy(runtime)).toBe(empty)
    }
  })

  test('leaks nothing when any allocation fails, and works once there is memory', async () => {
    using runtime = openRuntime('baseline')
    const empty = usedBy(runtime)
    const expected = await (async () => {
      const model = await loadSmallModel(runtime, config)
      const logits = await model.forward(tokens)
      model.dispose()
      return logits
    })()
    const calls: Record<string, (model: LanguageModel) => Promise<unknown>> = {
      forward: (model) => model.forward(tokens),
      evaluate: (model) => model.evaluate(tokens, { chunk: 20 }),
      generate: (model) => model.generate(tokens).next(),
      'createSession and append': async (model) => model.createSession().append(tokens),
      'append in two': async (model) => {
        const session = model.createSession()
        await session.append(tokens.slice(0, 25))
        await session.append(tokens.slice(25))
      },
      clone: async (model) => model.createSession().clone(),
      restore: async (model) => model.restoreSession(model.createSession().save()),
    }
    if (config.causal) {
      calls['inspect'] = async (model) => {
        const session = model.createSession()
        await session.append(tokens)
        await session.inspect()
      }
    }
    for (const [name, call] of Object.entries(calls)) {
      for (let nth = 1; ; nth += config.causal || nth < 8 ? 1 : 9) {
        const model = await loadSmallModel(runtime, config)
        const undo = failAllocation(runtime, nth)
        const outcome = await outcomeOf(call(model))
        const failed = undo()
        if (failed) expect(outcome, `${name}, allocation ${nth}`).toMatchObject({ reason: { code: 'OUT_OF_MEMORY' } })
        else expect(outcome, name).toHaveProperty('value')
        const session = model.createSession()
        expect((await model.forward(tokens)).data).toEqual(expected.data)
        expect(await session.append(tokens)).toEqual(expected.data.slice(-23))
        model.dispose()
        expect(usedBy(runtime), `${name}, allocation ${nth}`).toBe(empty)
        if (!failed) break
      }
    }
  })

  test('lets the event loop run and retries when an allocation fails, since collected objects release their memory only then', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, config)
    const expected = await model.forward(tokens)
    const write = async () => (await model.generate(tokens, { temperature: 0 }).next()).value
    const written = await write()
    const calls: Record<string, readonly [() => Promise<unknown>, unknown]> = {
      forward: [() => model.forward(tokens), expected],
      evaluate: [() => model.evaluate(tokens), await model.evaluate(tokens)],
      generate: [write, written],
      append: [() => model.createSession().append(tokens), expected.data.slice(-23)],
      load: [async () => (await loadSmallModel(runtime, config)).config, model.config],
    }
    for (const [name, [call, right]] of Object.entries(calls)) {
      // the first allocations of createSession are within the test's own call
      for (let nth = name === 'append' ? 4 : 1; nth < 12; nth++) {
        let isShort = true
        const undo = failAllocation(runtime, nth, () => isShort)
        const pending = outcomeOf(call())
        setImmediate(() => (isShort = false))
        expect(await pending, `${name}, allocation ${nth}`).toEqual({ value: right })
        undo()
      }
    }
  })

  test('leaks nothing if it fails to load', async () => {
    using runtime = openRuntime('baseline')
    const empty = usedBy(runtime)
    const files = () => smallModelFiles(smallModel(config))
    const cut = files()
    cut.set('model.safetensors', cut.get('model.safetensors')!.slice(0, -1))
    const lacking = smallModel(config)
    lacking.parameters.delete('to_logits.1.bias')
    await expectRejects(LanguageModel.load(cut, { runtime }), 'BAD_FILE')
    await expectRejects(LanguageModel.load(smallModelFiles(lacking), { runtime }), 'BAD_WEIGHTS')
    await expectRejects(LanguageModel.load(files().set('config.json', new TextEncoder().encode('{}')), { runtime }), 'BAD_CONFIG')
    await expectRejects(LanguageModel.load(files().set('tokenizer.json', new Uint8Array(3)), { runtime }), 'BAD_FILE')
    const undo = failAllocation(runtime, 1)
    await expectRejects(LanguageModel.load(files(), { runtime }), 'OUT_OF_MEMORY')
    undo()
    expect(usedBy(runtime)).toBe(empty)
  })

  test('leaks nothing if its loading is cancelled, or its onProgress throws, at any event', async () => {
    using runtime = openRuntime('baseline')
    const empty = usedBy(runtime)
    const files = smallModelFiles(smallModel(config))
    let events = 0
    const loaded = await LanguageModel.load(files, { runtime, onProgress: () => void events++ })
    loaded.dispose()
    expect(events).toBeGreaterThanOrEqual(2)
    for (let nth = 1; nth <= events; nth++) {
      const controller = new AbortController()
      let seen = 0
      const onProgress = () => {
        if (++seen === nth) controller.abort('enough')
      }
      expect(await outcomeOf(LanguageModel.load(files, { runtime, onProgress, signal: controller.signal }))).toEqual({ reason: 'enough' })
      expect(seen).toBe(nth)
      const thrown = { event: nth }
      let again = 0
      const throwing = () => {
        // What a progress listener throws may be anything.
        // eslint-disable-next-line @typescript-eslint/only-throw-error
        if (++again === nth) throw thrown
      }
      expect(await outcomeOf(LanguageModel.load(files, { runtime, onProgress: throwing }))).toEqual({ reason: thrown })
      expect(usedBy(runtime)).toBe(empty)
    }
    expect(await outcomeOf(LanguageModel.load(files, { runtime, signal: AbortSignal.abort('before') }))).toEqual({ reason: 'before' })
    expect(usedBy(runtime)).toBe(empty)
  })

  test('disposes of a runtime that it created, and of no other', async () => {
    const files = smallModelFiles(smallModel(config))
    const own = await LanguageModel.load(files)
    const { runtime } = own
    await useModel(own)
    own.dispose()
    expect(runtime.disposed).toBe(true)
    expect(usedBy(runtime)).toBe(0)

    using shared = openRuntime('baseline')
    const guest = await LanguageModel.load(files, { runtime: shared })
    guest.dispose()
    expect(shared.disposed).toBe(false)
    await useModel(await LanguageModel.load(files, { runtime: shared }))
  })
})

test('a layer releases what its calls allocated, and itself', async () => {
  using runtime = openRuntime('baseline', 2)
  const empty = usedBy(runtime)
  for (const causal of [false, true]) {
    const options = {
      dim: 12,
      numRoutedQueries: 2,
      numRoutedKeyValues: 5,
      localAttnWindowSize: 4,
      heads: 2,
      dimHead: 6,
      causal,
      selection: 'top-k',
    } as const
    const layer = new MixtureOfAutoregressiveAttention(runtime, options, { seed: 1 })
    const own = usedBy(runtime)
    const x = Tensor.randn([2, 30, 12], 3)
    for (let round = 0; round < 5; round++) {
      await Promise.all([layer.forward(x), layer.forward(x, { trace: true }), layer.forward(x, { rotaryEmb: Tensor.randn([30, 6], 1) })])
      await expectRejects(layer.forward(Tensor.randn([2, 30, 11])), 'BAD_SHAPE')
      expectThrows(() => layer.loadStateDict({}), 'BAD_WEIGHTS')
      expect(usedBy(runtime)).toBe(own)
    }
    layer.dispose()
    expect(usedBy(runtime)).toBe(empty)
  }
})

test.each([false, true])(
  'a layer uses its inputs as they were at the call, even if an allocation has to be retried (causal: %s)',
  async (causal) => {
    using runtime = openRuntime('baseline')
    const options = { dim: 12, numRoutedQueries: 2, numRoutedKeyValues: 5, localAttnWindowSize: 4, heads: 2, dimHead: 6, causal } as const
    const layer = new MixtureOfAutoregressiveAttention(runtime, { ...options, selection: 'top-k' }, { seed: 1 })
    const own = usedBy(runtime)
    const inputs = () => ({ x: Tensor.randn([2, 30, 12], 3), rotaryEmb: Tensor.randn([30, 6], 1) })
    const call = ({ x, rotaryEmb }: ReturnType<typeof inputs>) => layer.forward(x, { rotaryEmb })
    const expected = await call(inputs())
    let failed = true
    for (let nth = 1; failed; nth++) {
      let isShort = true
      const undo = failAllocation(runtime, nth, () => isShort)
      const given = inputs()
      const pending = outcomeOf(call(given))
      given.x.data.fill(NaN)
      given.rotaryEmb.data.fill(NaN)
      setImmediate(() => (isShort = false))
      expect(await pending, `allocation ${nth}`).toEqual({ value: expected })
      failed = undo()
      expect(usedBy(runtime)).toBe(own)
    }
  },
)

test('novels-10m leaks nothing, with text, a tokenizer and a cancelled load', async () => {
  using runtime = openRuntime('baseline')
  const empty = usedBy(runtime)
  const controller = new AbortController()
  let events = 0
  const cancelled = LanguageModel.load(novelsFolder, {
    runtime,
    signal: controller.signal,
    onProgress: () => void (++events === 4 && controller.abort('enough')),
  })
  expect(await outcomeOf(cancelled)).toEqual({ reason: 'enough' })
  expect(usedBy(runtime)).toBe(empty)
  const model = await loadNovels(runtime)
  const text = readFileSync(new URL('treasure-island.txt', novelsFolder), 'utf8').slice(0, 300)
  await model.forward(model.tokenizer.encode(text))
  const warm = usedBy(runtime)
  for await (const token of model.generate(text, { maxTokens: 4, stop: ['\n'] })) expect(token.logprob).toBeLessThan(0)
  for await (const token of model.generate(text)) if (token) break
  expect(usedBy(runtime)).toBe(warm)
  model.dispose()
  expect(usedBy(runtime)).toBe(empty)
})
