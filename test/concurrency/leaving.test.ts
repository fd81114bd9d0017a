/**
 * On one thread a program is left between its steps, and between the parts of a long one, for the event loop to turn.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Runtime } from '../../src/device/runtime.js'
import { MixtureOfAutoregressiveAttention } from '../../src/model/layer.js'
import type { LanguageModel } from '../../src/model/language-model.js'
import { Tensor } from '../../src/tensor.js'
import { cases, causalOptions, makeForwardOptions, makeInput, publishedOptions } from '../support/arbitraries.js'
import { expectSameBits } from '../support/bits.js'
import { withLayer } from '../support/drawn-layers.js'
import { outcomeOf } from '../support/interruptions.js'
import { atLeave, leaveOften } from '../support/leaving.js'
import { allBuilds, openRuntime } from '../support/runtimes.js'
import { causalConfig, causalConfigs, loadSmallModel, publishedConfig, publishedConfigs, randomTokens } from '../support/small-models.js'
import { runs } from '../support/seed.js'

const tokens = randomTokens(60, causalConfig.num_tokens)
const kinds = [
  ['strictly causal', causalConfig],
  ['published', publishedConfig],
] as const

/** A runtime that never leaves a program, and those that leave often. */
const plain = openRuntime('checked-relaxed')
const often = ([1, 3] as const).map((partitions) => {
  const runtime = openRuntime('checked-relaxed', partitions)
  leaveOften(runtime)
  return runtime
})

describe('programs paused as often as possible give the same bits as without pauses', () => {
  test.each([
    ['published', publishedOptions],
    ['strictly causal', causalOptions],
  ] as const)('a layer with %s routing', async (_name, options) => {
    const leaves = often.map((runtime) => atLeave(runtime))
    await fc.assert(
      fc.asyncProperty(cases(options), fc.constantFrom(...often), async (drawn, runtime) => {
        const { x } = makeInput(drawn)
        const forward = makeForwardOptions(drawn)
        const on = (where: Runtime) => withLayer(where, drawn.options, drawn.call.seed, (layer) => layer.forward(x, forward))
        expectSameBits(await on(runtime), await on(plain))
      }),
      runs(60),
    )
    for (const count of leaves) expect(count()).toBeGreaterThan(100)
  })

  test.each([
    ['strictly causal', causalConfigs],
    ['published', publishedConfigs],
  ] as const)('in a %s model', async (_name, configs) => {
    await fc.assert(
      fc.asyncProperty(
        configs as fc.Arbitrary<Record<string, unknown> & { num_tokens: number }>,
        fc.constantFrom(...often),
        fc.integer({ min: 2, max: 100 }),
        async (config, runtime, length) => {
          const ids = randomTokens(length, config.num_tokens)
          const on = async (where: Runtime) => {
            const model = await loadSmallModel(where, { ...config, max_positions: null })
            const session = model.createSession()
            const answers = [(await model.forward(ids)).data, await session.append(ids.slice(0, -1)), await session.append(ids.slice(-1))]
            model.dispose()
            return answers
          }
          expect(await on(runtime)).toEqual(await on(plain))
        },
      ),
      runs(40),
    )
  })

  test.each(allBuilds)('on the build %s', async (build) => {
    using left = openRuntime(build)
    using whole = openRuntime(build)
    leaveOften(left)
    for (const config of [causalConfig, publishedConfig]) {
      const on = async (where: Runtime) => (await (await loadSmallModel(where, config)).forward(tokens)).data
      expect(await on(left)).toEqual(await on(whole))
    }
  })
})

test('by default, the calling thread pauses long ops between their slices, and short work never', async () => {
  using runtime = openRuntime('relaxed')
  const leavesOf = async (dim: number, length: number) => {
    const layer = new MixtureOfAutoregressiveAttention(runtime, {
      dim,
      heads: 4,
      dimHead: 64,
      numRoutedQueries: 8,
      numRoutedKeyValues: 8,
      localAttnWindowSize: 128,
    })
    const leaves = atLeave(runtime)
    await layer.forward(Tensor.randn([1, length, dim]))
    layer.dispose()
    return leaves()
  }
  expect(await leavesOf(64, 128)).toBe(0)
  // 256 rows · 768 columns · 8,192 deep: the first product alone is 3.2 · 10⁹ operations
  expect(await leavesOf(8192, 256)).toBeGreaterThan(30)
})

test('the passes of one selection are paused too, in proportion to their number', async () => {
  using runtime = openRuntime('relaxed')
  leaveOften(runtime, { leaveWork: 1, sliceWork: 1e6 })
  const answers: Tensor[] = []
  const leavesOf = async (nIters: number, where: Runtime) => {
    const options = { dim: 8, heads: 1, dimHead: 8, numExperts: 1, numRoutedQueries: 9, numRoutedKeyValues: 9, localAttnWindowSize: 500 }
    const layer = new MixtureOfAutoregressiveAttention(where, { ...options, nIters, eps: 1, epsDecay: 0.999 }, { seed: 1 })
    const leaves = atLeave(where)
    answers.push(await layer.forward(Tensor.randn([1, 900, 8], 1)))
    layer.dispose()
    return leaves()
  }
  // two windows, one expert: three rows of candidates
  const few = await leavesOf(20, runtime)
  const many = await leavesOf(4096, runtime)
  expect(many - few).toBeGreaterThan(60)
  using whole = openRuntime('relaxed')
  expect(await leavesOf(20, whole)).toBe(0)
  await leavesOf(4096, whole)
  expectSameBits(answers[0]!, answers[2]!)
  expectSameBits(answers[1]!, answers[3]!)
})

describe.each(kinds)('a %s model whose programs are paused', (_kind, config) => {
  async function open() {
    const runtime = openRuntime('checked-baseline')
    leaveOften(runtime)
    const model = await loadSmallModel(runtime, config)
    const session = model.createSession()
    await session.append(tokens.slice(0, 20))
    await session.append([1]) // its tier is planned, its buffers as large as they get
    return { runtime, model, session, used: () => runtime.info.memory.used, [Symbol.dispose]: () => void runtime.dispose() }
  }

  /** Places where an append may be left: all, or a few dozen of them. */
  async function places(model: LanguageModel, runtime: Runtime): Promise<number[]> {
    const clone = model.createSession()
    await clone.append(tokens.slice(0, 21))
    const leaves = atLeave(runtime)
    await clone.append(tokens.slice(21))
    const count = leaves()
    clone.dispose()
    expect(count).toBeGreaterThan(20)
    return Array.from({ length: count }, (_, i) => i + 1).filter((nth) => nth <= 5 || nth > count - 5 || nth % Math.ceil(count / 30) === 0)
  }

  test('is unchanged when an append is aborted anywhere, and the same append then succeeds', async () => {
    using opened = await open()
    const { runtime, model, session } = opened
    const saved = session.save()
    const expected = await session.clone().append(tokens.slice(21))
    for (const nth of await places(model, runtime)) {
      const used = opened.used()
      const controller = new AbortController()
      const leaves = atLeave(runtime, nth, () => controller.abort(nth))
      expect(await outcomeOf(session.append(tokens.slice(21), { signal: controller.signal }))).toEqual({ reason: nth })
      expect(leaves(), 'nothing goes on behind the abort').toBe(nth)
      expect(session.save()).toEqual(saved)
      expect(opened.used(), `aborted at leave ${nth}`).toBe(used)
      const again = session.clone()
      expect(await again.append(tokens.slice(21))).toEqual(expected)
      again.dispose()
    }
  })

  test('ends aborted forwards and evaluations, and releases what they allocated', async () => {
    using opened = await open()
    const { runtime, model } = opened
    await model.evaluate(tokens)
    await model.forward(tokens)
    const used = opened.used()
    for (const nth of [1, 7, 30]) {
      for (const call of [model.forward.bind(model), model.evaluate.bind(model)]) {
        const controller = new AbortController()
        const leaves = atLeave(runtime, nth, () => controller.abort(nth))
        expect(await outcomeOf<unknown>(call(tokens, { signal: controller.signal }))).toEqual({ reason: nth })
        expect(leaves()).toBe(nth)
        expect(opened.used()).toBe(used)
      }
    }
  })

  test('releases everything if it, its session or the runtime is disposed of meanwhile', async () => {
    const count = await (async () => {
      using opened = await open()
      return await places(opened.model, opened.runtime)
    })()
    for (const nth of count.filter((_, i) => i % 4 === 0)) {
      for (const what of ['session', 'model', 'runtime'] as const) {
        using opened = await open()
        const { runtime, session, model } = opened
        const leaves = atLeave(runtime, nth, () => void opened[what].dispose())
        const calls = [session.append(tokens.slice(21)), session.append([1])].map(outcomeOf)
        for (const outcome of await Promise.all(calls)) expect(outcome).toMatchObject({ reason: { code: 'DISPOSED' } })
        expect(leaves()).toBe(nth)
        if (what === 'session') await model.forward(tokens)
        else session.dispose()
        await runtime.dispose()
        expect(opened.used()).toBe(0)
      }
    }
  })

  test('computes overlapping calls as if they came one by one, and small work of others meanwhile', async () => {
    using runtime = openRuntime('checked-relaxed')
    const [model, other] = [await loadSmallModel(runtime, config, 1), await loadSmallModel(runtime, causalConfig, 2)]
    const layer = new MixtureOfAutoregressiveAttention(
      runtime,
      { dim: 12, heads: 2, dimHead: 6, numRoutedQueries: 3, numRoutedKeyValues: 9, localAttnWindowSize: 8 },
      { seed: 5 },
    )
    const x = Tensor.randn([2, 50, 12], 3)
    const work = (): (() => Promise<Float32Array>)[] => {
      const sessions = [model, model, other].map((each) => each.createSession())
      return [
        ...sessions.flatMap((session) => [() => session.append(tokens.slice(0, 30)), () => session.append(tokens.slice(30))]),
        async () => (await model.forward(tokens)).data,
        async () => (await layer.forward(x)).data,
      ]
    }
    const expected: Float32Array[] = []
    for (const call of work()) expected.push(await call())
    leaveOften(runtime)
    expect(await Promise.all(work().map((call) => call()))).toEqual(expected)
    // one token of a small enough model is read synchronously, even while other work is suspended
    const long = model.forward(tokens)
    const single = other.createSession()
    const before = atLeave(runtime)
    Object.assign(runtime.device, { leaveWork: 1e6 })
    const logits = await single.append(tokens.slice(0, 1))
    expect(before()).toBeLessThan(20)
    expect(logits).toEqual(await other.createSession().append(tokens.slice(0, 1)))
    expect((await long).data).toEqual(expected[6])
  })

  test('rejects an aborted call that waits for its turn immediately', async () => {
    using opened = await open()
    const { model, session } = opened
    const settled: string[] = []
    const track = (name: string, call: Promise<unknown>) => outcomeOf(call).then((outcome) => (settled.push(name), outcome))
    const [sameSession, otherSession] = [new AbortController(), new AbortController()]
    const other = model.createSession()
    await other.append([2])
    const calls = [
      track('first', session.append(tokens)),
      track('same session', session.append([1], { signal: sameSession.signal })),
      track('other session', other.append(tokens.slice(0, 2), { signal: otherSession.signal })),
      track('last', session.append([2])),
    ]
    await new Promise((resolve) => setImmediate(resolve))
    sameSession.abort('enough')
    otherSession.abort('too')
    const outcomes = await Promise.all(calls)
    expect(outcomes[1]).toEqual({ reason: 'enough' })
    expect(outcomes[2]).toEqual({ reason: 'too' })
    expect(settled.indexOf('same session')).toBeLessThan(settled.indexOf('first'))
    expect(settled.indexOf('other session')).toBeLessThan(settled.indexOf('first'))
    const expected = model.createSession()
    await expected.append([...tokens.slice(0, 20), 1, ...tokens])
    expect(outcomes[3]).toEqual({ value: await expected.append([2]) })
    expect(other.position).toBe(1)
  })
})
