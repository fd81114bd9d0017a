import { getEventListeners } from 'node:events'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { createRuntime } from '../../src/device/create-runtime.js'
import { Runtime } from '../../src/device/runtime.js'
import { instantiateKernels } from '../../src/device/wasm/instantiate.js'
import type { ErrorCode } from '../../src/errors.js'
import type { GenerateOptions } from '../../src/model/generation/generate-options.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { MixtureOfAutoregressiveAttention } from '../../src/model/layer.js'
import { Tensor } from '../../src/tensor.js'
import { expectRejects, expectThrows } from '../support/errors.js'
import { afterRun, countRuns, failAllocation, outcomeOf } from '../support/interruptions.js'
import { novelsFolder } from '../support/models.js'
import { openRuntime } from '../support/runtimes.js'
import {
  causalConfig,
  loadSmallModel,
  publishedConfig,
  randomTokens,
  smallModel,
  smallModelFiles,
  type SmallModel,
} from '../support/small-models.js'

const V = causalConfig.num_tokens
const tokens = randomTokens(40, V)
const kinds = [
  ['strictly causal', causalConfig],
  ['published', publishedConfig],
] as const

async function setUp(config: Record<string, unknown> = causalConfig) {
  const runtime = openRuntime('baseline')
  const model = await loadSmallModel(runtime, config)
  return { runtime, model, [Symbol.dispose]: () => void runtime.dispose() }
}

function load({ runtime, made }: { runtime: Runtime; made: SmallModel }): Promise<LanguageModel> {
  return LanguageModel.load(smallModelFiles(made), { runtime })
}

/**
 * One call that ends with each code. WORKER_FAILED needs a thread that dies, DEVICE_LOST a GPU, NETWORK a host and
 * NUMERIC weights that overflow: test/concurrency/threads.test.ts, test/webgpu, test/io/download.test.ts and test/text/sampling.test.ts
 * have them.
 */
const oneOfEach: Record<
  Exclude<ErrorCode, 'WORKER_FAILED' | 'DEVICE_LOST' | 'NETWORK' | 'NUMERIC'>,
  (made: { runtime: Runtime; model: LanguageModel }) => Promise<unknown>
> = {
  BAD_FILE: async ({ model }) => model.restoreSession(new Uint8Array(100)),
  BAD_WEIGHTS: ({ runtime }) => load({ runtime, made: { ...smallModel(causalConfig), config: { ...causalConfig, dim: 8 } } }),
  BAD_CONFIG: ({ runtime }) => load({ runtime, made: { ...smallModel(causalConfig), config: { ...causalConfig, dim: '16' } } }),
  BAD_SHAPE: async ({ runtime }) => {
    const layer = new MixtureOfAutoregressiveAttention(runtime, {
      dim: 4,
      heads: 1,
      dimHead: 2,
      numRoutedQueries: 1,
      numRoutedKeyValues: 1,
      localAttnWindowSize: 2,
    })
    return layer.forward(Tensor.zeros([1, 3, 5]))
  },
  BAD_ARGUMENT: ({ model }) => model.forward([V]),
  OUT_OF_MEMORY: ({ runtime, model }) => {
    failAllocation(runtime, 1)
    return model.forward([1])
  },
  DISPOSED: ({ model }) => {
    model.dispose()
    return model.forward([1])
  },
  UNSUPPORTED: ({ model }) => model.complete('a text'),
}

test.each(Object.keys(oneOfEach) as (keyof typeof oneOfEach)[])('%s is the code of an error that this package throws', async (code) => {
  using made = await setUp()
  await expectRejects(oneOfEach[code](made), code)
})

describe.each(kinds)('a %s model', (_kind, config) => {
  test('rejects invalid token ids, naming the first', async () => {
    using made = await setUp(config)
    const { model } = made
    const typed = [new Float32Array(2), new Float64Array(2), new BigInt64Array(2), new BigUint64Array(2), new DataView(new ArrayBuffer(8))]
    const lists = [
      [0, -1],
      [0, V],
      [0, 1.5],
      [0, NaN],
      [0, Infinity],
      [0, '1'],
      [0, null],
      [0, undefined],
      [0, 1n],
      [0, [1]],
      [0, , 2],
    ]
    for (const bad of [...lists, Int8Array.of(0, -1), Uint8Array.of(0, 255)]) {
      const expected = /token id 1 must be an integer from 0 to 22/
      await expectRejects(model.forward(bad as never), 'BAD_ARGUMENT', expected)
      await expectRejects(model.evaluate(bad as never), 'BAD_ARGUMENT', expected)
      expectThrows(() => model.generate(bad as never), 'BAD_ARGUMENT', expected)
      await expectRejects(model.createSession().append(bad as never), 'BAD_ARGUMENT', expected)
    }
    for (const bad of [
      ...typed,
      null,
      undefined,
      5,
      '12',
      {},
      { length: 2, 0: 1, 1: 1 },
      new Set([1]),
      new ArrayBuffer(4),
      () => [1],
      Symbol('ids'),
    ]) {
      await expectRejects(model.forward(bad as never), 'BAD_ARGUMENT', /token ids must be/)
      await expectRejects(model.evaluate(bad as never), 'BAD_ARGUMENT', /token ids must be/)
      await expectRejects(model.createSession().append(bad as never), 'BAD_ARGUMENT', /token ids must be/)
      if (typeof bad !== 'string') expectThrows(() => model.generate(bad as never), 'BAD_ARGUMENT', /token ids must be/)
    }
  })

  test('gives logits of no rows for an empty text', async () => {
    using made = await setUp(config)
    for (const empty of [[], new Int32Array(0)]) {
      const { shape, data } = await made.model.forward(empty)
      expect(shape).toEqual([0, V])
      expect(data).toHaveLength(0)
    }
  })

  test('rejects logits larger than any memory, and remains usable', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, { ...config, num_tokens: 50_000, dim: 2, depth: 1 })
    const used = runtime.info.memory.used
    await expectRejects(model.forward(new Uint8Array(8_000_000)), 'OUT_OF_MEMORY')
    expect(runtime.info.memory.used - used).toBeLessThan(2 ** 22)
    expect((await model.forward([1, 2])).shape).toEqual([2, 50_000])
    // 17 GB of ids, should they ever be copied, of which none is one
    const holes = await outcomeOf(model.forward(Object.assign([], { length: 2 ** 32 - 1 })))
    expect(holes).toMatchObject({ reason: { code: expect.stringMatching(/^(BAD_ARGUMENT|OUT_OF_MEMORY)$/) as string } })
  })

  test('reads up to max_positions and no further', async () => {
    using made = await setUp({ ...config, max_positions: 30 })
    const { model } = made
    const [fits, beyond] = [tokens.slice(0, 30), tokens.slice(0, 31)]
    const whole = await model.forward(fits)
    await expectRejects(model.forward(beyond), 'BAD_ARGUMENT', /31 tokens .* 30 positions \(max_positions\)/)

    const session = model.createSession()
    await expectRejects(session.append(beyond), 'BAD_ARGUMENT', /30 positions/)
    await session.append(fits.slice(0, 20))
    await expectRejects(session.append(beyond.slice(20)), 'BAD_ARGUMENT', /30 positions/)
    expect(session.position).toBe(20)
    const last = await session.append(fits.slice(20))
    expect(last).toEqual(whole.data.slice(-V))
    await expectRejects(session.append([1]), 'BAD_ARGUMENT', /30 positions/)
    expect(await session.append([])).toEqual(last)
    for (const full of [session.clone(), model.restoreSession(session.save())]) {
      await expectRejects(full.append([1]), 'BAD_ARGUMENT', /30 positions/)
      expect(await full.append([])).toEqual(last)
    }
  })

  test('evaluates longer texts in chunks of at most max_positions', async () => {
    using made = await setUp({ ...config, max_positions: 30 })
    const { model } = made
    const long = randomTokens(100, V)
    const { tokens: count, bitsPerToken } = await model.evaluate(long)
    expect(count).toBe(99)
    expect(await model.evaluate(long, { chunk: 30 })).toEqual({ tokens: 99, bitsPerToken })
    for (const chunk of [31, 2048]) await expectRejects(model.evaluate(long, { chunk }), 'BAD_ARGUMENT', /chunk must be .* 30 positions/)
  })

  test('stops generating at max_positions', async () => {
    using made = await setUp({ ...config, max_positions: 30 })
    const { model } = made
    const count = async (length: number, options?: GenerateOptions) => {
      let made = 0
      for await (const { id } of model.generate(tokens.slice(0, length), options)) made += Number(id < V)
      return made
    }
    // prompt and continuation together: what `forward` would still take
    expect(await count(10)).toBe(20)
    expect(await count(30, { maxTokens: Infinity })).toBe(0)
    expect(await count(25, { maxTokens: 3 })).toBe(3)
    await expectRejects(count(31), 'BAD_ARGUMENT', /30 positions/)
  })

  test('whose weights are NaN never loops forever: logits are NaN, and generating ends with an error', async () => {
    using runtime = openRuntime('baseline')
    for (const [name, value] of [
      ['token_emb.weight', NaN],
      ['to_logits.1.bias', NaN],
      ['layers.0.0.query_router.routing_token', NaN],
      ['to_logits.1.bias', Infinity],
      ['layers.1.0.key_value_router.routing_token', Infinity],
    ] as const) {
      const made = smallModel(config)
      made.parameters.get(name)!.data.fill(value)
      const model = await load({ runtime, made })
      const { data } = await model.forward(tokens)
      expect(data).toHaveLength(tokens.length * V)
      expect(await model.evaluate(tokens)).toMatchObject({ tokens: tokens.length - 1 })
      const session = model.createSession()
      const logits = await session.append(tokens)
      if (!logits.every(Number.isFinite)) {
        for (const options of [{}, { temperature: 0 }, { topK: 3 }, { topP: 0.5 }]) {
          await expectRejects(model.generate(tokens, { ...options, maxTokens: Infinity }).next(), 'NUMERIC', /no distribution/)
        }
      } else expect(name).toContain('routing_token')
      expect(model.restoreSession(session.save()).position).toBe(tokens.length)
      model.dispose()
    }
  })

  test('is not disturbed by another model of the same runtime whose weights are NaN', async () => {
    using runtime = openRuntime('baseline')
    const sound = await loadSmallModel(runtime, config)
    const expected = await sound.forward(tokens)
    const made = smallModel(config)
    for (const { data } of made.parameters.values()) data.fill(NaN)
    const broken = await load({ runtime, made })
    const [session, other] = [sound.createSession(), broken.createSession()]
    for (const token of tokens) await Promise.all([session.append([token]), other.append([token])])
    broken.dispose()
    expect(await session.append([])).toEqual(expected.data.slice(-V))
    expect(await sound.forward(tokens)).toEqual(expected)
    expect(await sound.createSession().append(tokens)).toEqual(expected.data.slice(-V))
  })

  test("is unusable after dispose, and after its runtime's", async () => {
    for (const what of ['model', 'runtime'] as const) {
      using made = await setUp(config)
      const { model } = made
      const session = model.createSession()
      const saved = session.save()
      const generation = model.generate(tokens)
      await generation.next()
      await made[what].dispose()
      await expectRejects(model.forward([1]), 'DISPOSED', new RegExp(what))
      await expectRejects(model.forward([]), 'DISPOSED')
      await expectRejects(model.evaluate([1]), 'DISPOSED')
      await expectRejects(generation.next(), 'DISPOSED')
      await expectRejects(model.generate([1]).next(), 'DISPOSED')
      await expectRejects(session.append([1]), 'DISPOSED')
      expectThrows(() => model.createSession(), 'DISPOSED')
      expectThrows(() => model.restoreSession(saved), 'DISPOSED')
      expectThrows(() => session.save(), 'DISPOSED')
      expectThrows(() => session.clone(), 'DISPOSED')
      expect(model.config.numTokens).toBe(V)
      model.dispose()
    }
  })

  test('completes pending work or rejects it with DISPOSED when it is disposed of', async () => {
    using first = await setUp(config)
    const [logits, evaluation] = [await first.model.forward(tokens), await first.model.evaluate(tokens)]
    for (let nth = 1; nth < 40; nth += 3) {
      using made = await setUp(config)
      const { model, runtime } = made
      afterRun(runtime, nth, () => model.dispose())
      const outcomes = await Promise.all([outcomeOf<unknown>(model.forward(tokens)), outcomeOf<unknown>(model.evaluate(tokens))])
      outcomes.forEach((outcome, i) => {
        if ('value' in outcome) expect(outcome.value).toEqual([logits, evaluation][i])
        else expect(outcome.reason).toMatchObject({ code: 'DISPOSED' })
      })
    }
  })
})

describe('evaluating', () => {
  test('rejects invalid options', async () => {
    using made = await setUp()
    const { model } = made
    for (const chunk of [0, -1, 1.5, NaN, Infinity, '5', null, [5]])
      await expectRejects(model.evaluate(tokens, { chunk } as never), 'BAD_ARGUMENT', /chunk/)
    for (const bad of [{ onProgress: 5 }, { onProgress: null }, { signal: {} }, { signal: null }, null, 5, 'chunk']) {
      await expectRejects(model.evaluate(tokens, bad as never), 'BAD_ARGUMENT')
      await expectRejects(model.evaluate([], bad as never), 'BAD_ARGUMENT')
    }
  })

  test('rejects with anything that onProgress throws', async () => {
    using made = await setUp()
    for (const thrown of [new Error('no'), 'a text', undefined, 0]) {
      let events = 0
      const onProgress = () => {
        // eslint-disable-next-line @typescript-eslint/only-throw-error
        if (++events === 2) throw thrown
      }
      expect(await outcomeOf(made.model.evaluate(tokens, { chunk: 10, onProgress }))).toEqual({ reason: thrown })
      expect(events).toBe(2)
    }
    expect((await made.model.evaluate(tokens)).tokens).toBe(39)
  })

  test('checks the signal at each progress event, and before the first', async () => {
    using made = await setUp()
    const reason = { why: 'enough' }
    for (let nth = 0; nth <= 4; nth++) {
      const controller = new AbortController()
      let events = 0
      const onProgress = () => {
        if (++events === nth) controller.abort(reason)
      }
      if (nth === 0) controller.abort(reason)
      const outcome = await outcomeOf(made.model.evaluate(tokens, { chunk: 10, onProgress, signal: controller.signal }))
      expect(outcome).toEqual({ reason })
      expect(events).toBe(nth)
    }
  })

  test.each(kinds)('in one forward rejects with the reason of its signal (%s)', async (_kind, config) => {
    using made = await setUp(config)
    const { model, runtime } = made
    await model.forward(tokens, {})
    const used = runtime.info.memory.used
    expect(await outcomeOf(model.forward(tokens, { signal: AbortSignal.abort('before') }))).toEqual({ reason: 'before' })
    const controller = new AbortController()
    const undo = afterRun(runtime, 1, () => controller.abort('enough'))
    expect(await outcomeOf(model.forward(tokens, { signal: controller.signal }))).toEqual({ reason: 'enough' })
    undo()
    expect(runtime.info.memory.used).toBe(used)
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
    for (const signal of [null, 5, {}]) await expectRejects(model.forward(tokens, { signal } as never), 'BAD_ARGUMENT', /signal/)
    await expectRejects(model.forward(tokens, { sinal: controller.signal } as never), 'BAD_ARGUMENT', /did you mean 'signal'/)
  })

  test('can be aborted in the middle of a long chunk', async () => {
    using made = await setUp()
    const { model, runtime } = made
    const runs = await countRuns(runtime, () => model.evaluate(tokens))
    const controller = new AbortController()
    afterRun(runtime, 2, () => controller.abort('enough'))
    let ran = 0
    const counting = countRuns(runtime, async () => {
      expect(await outcomeOf(model.evaluate(tokens, { signal: controller.signal }))).toEqual({ reason: 'enough' })
      ran++
    })
    expect(await counting).toBeLessThan(runs)
    expect(ran).toBe(1)
  })
})

describe('generating', () => {
  test('rejects bad arguments at the call', async () => {
    using made = await setUp()
    const { model } = made
    const session = model.createSession()
    const bad: Record<string, unknown[]> = {
      maxTokens: [-1, 1.5, NaN, '3', null, 2 ** 53, -Infinity],
      temperature: [-1, -0.001, NaN, Infinity, '1', null, true],
      topK: [0, -1, 1.5, NaN, Infinity, '1', null],
      topP: [0, -0.1, 1.1, NaN, '1', null],
      minP: [-0.1, 1.1, NaN, '1', null],
      seed: [NaN, Infinity, '1', null, 1n],
      repetitionPenalty: [0, -1, NaN, Infinity, '1', null],
      frequencyPenalty: [NaN, Infinity, '1', null],
      presencePenalty: [NaN, -Infinity, '1', null],
      logitBias: [null, 5, [1], new Float32Array(2), { x: 1 }, { 23: 1 }, { '-1': 1 }, { '01': 1 }, { 1: NaN }, { 1: Infinity }, { 1: '1' }, new Map([['1', 1]]), new Map([[1.5, 1]])], // prettier-ignore
      logitsProcessor: [null, 5, {}],
      topLogprobs: [-1, 0.5, NaN, Infinity, '1', null],
      stopTokenIds: [null, 5, '5', [V], [-1], [0.5], [null], new Float32Array(1)],
      ignoreEos: [null, 0, 'true'],
      onProgress: [null, 5, {}],
      maxToken: [5],
      stop: ['', [''], 5, [5], ['a', null], null, {}],
      signal: [null, {}, 5],
    }
    for (const [name, values] of Object.entries(bad)) {
      for (const value of values) {
        expectThrows(() => model.generate(tokens, { [name]: value }), 'BAD_ARGUMENT', new RegExp(name))
        expectThrows(() => session.generate(tokens, { [name]: value }), 'BAD_ARGUMENT', new RegExp(name))
        await expectRejects(model.complete(tokens, { [name]: value }), 'BAD_ARGUMENT', new RegExp(name))
      }
    }
    for (const options of [null, 5, 'greedy']) expectThrows(() => model.generate(tokens, options as never), 'BAD_ARGUMENT', /options/)
    for (const prompt of [[], new Int32Array(0)]) {
      expectThrows(() => model.generate(prompt), 'BAD_ARGUMENT', /at least one token/)
      expectThrows(() => session.generate(prompt), 'BAD_ARGUMENT', /at least one token/)
    }
    expectThrows(() => model.generate([], { maxTokens: 0 }), 'BAD_ARGUMENT', /at least one token/)
  })

  test('rejects an empty text, and stop texts that are not strings', async () => {
    using runtime = openRuntime('baseline')
    const files = smallModelFiles(smallModel({ ...causalConfig, num_tokens: 4096 }))
    const model = await LanguageModel.load(files.set('tokenizer.json', readFileSync(new URL('tokenizer.json', novelsFolder))), { runtime })
    expectThrows(() => model.generate(''), 'BAD_ARGUMENT', /at least one token/)
    for (const stop of ['', ['a', ''], '\ud800', ['\udc00x'], [, 'a']] as never[])
      expectThrows(() => model.generate('A', { stop }), 'BAD_ARGUMENT', /stop/)
  })

  test.each(kinds)(
    'with a %s model rejects with the reason of its signal, whenever it is aborted, and is then finished',
    async (_kind, config) => {
      using made = await setUp(config)
      const { model, runtime } = made
      for (const reason of [new Error('enough'), 'enough', null, 0]) {
        const before = model.generate(tokens, { signal: AbortSignal.abort(reason) })
        expect(await outcomeOf(before.next())).toEqual({ reason })
        expect(await before.next()).toEqual({ done: true, value: undefined })

        const between = new AbortController()
        const generation = model.generate(tokens, { signal: between.signal })
        expect((await generation.next()).done).toBe(false)
        between.abort(reason)
        expect(await outcomeOf(generation.next())).toEqual({ reason })
        expect(await generation.next()).toEqual({ done: true, value: undefined })

        const during = new AbortController()
        const reading = model.generate(tokens, { signal: during.signal })
        const undo = afterRun(runtime, 3, () => during.abort(reason))
        expect(await outcomeOf(reading.next())).toEqual({ reason })
        undo()
        expect(await reading.next()).toEqual({ done: true, value: undefined })
      }
      const bare = new AbortController()
      const generation = model.generate(tokens, { signal: bare.signal })
      await generation.next()
      bare.abort()
      expect(await outcomeOf(generation.next())).toMatchObject({ reason: { name: 'AbortError' } })
    },
  )

  test('leaves no listener on the signal, nor do the other calls', async () => {
    using made = await setUp()
    const { model } = made
    const { signal } = new AbortController()
    for await (const { id } of model.generate(tokens, { signal, maxTokens: 2 })) expect(id).toBeLessThan(V)
    for await (const token of model.generate(tokens, { signal })) if (token) break
    await model.evaluate(tokens, { signal, chunk: 10 })
    await model.createSession().append(tokens, { signal })
    await LanguageModel.load(smallModelFiles(smallModel(causalConfig)), { runtime: made.runtime, signal })
    await LanguageModel.load(novelsFolder, { runtime: made.runtime, signal })
    const own = await createRuntime({ signal, threads: 2 })
    await own.dispose()
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
  }, 30_000)
})

describe('loading', () => {
  test('accepts files that are Node Buffers, at any offset, and does not modify them', async () => {
    using made = await setUp()
    const expected = await made.model.forward(tokens)
    const saved = made.model.createSession().save()
    for (const offset of [0, 1, 2, 3, 8]) {
      const files = new Map<string, Uint8Array>()
      for (const [name, bytes] of smallModelFiles(smallModel(causalConfig))) {
        const buffer = Buffer.alloc(bytes.length + 16)
        buffer.set(bytes, offset)
        files.set(name, buffer.subarray(offset, offset + bytes.length))
      }
      const model = await LanguageModel.load(files, { runtime: made.runtime })
      for (const [name, bytes] of smallModelFiles(smallModel(causalConfig))) expect(Buffer.compare(files.get(name)!, bytes)).toBe(0)
      for (const bytes of files.values()) bytes.fill(0) // nothing is kept of them
      expect(await model.forward(tokens)).toEqual(expected)
      expect(model.restoreSession(saved).position).toBe(0)
    }
  })

  test('rejects invalid options and runtimes', async () => {
    const files = smallModelFiles(smallModel(causalConfig))
    for (const options of [null, 5, 'x', { runtime: {} }, { runtime: null }, { signal: 5 }, { onProgress: 5 }]) {
      await expectRejects(LanguageModel.load(files, options as never), 'BAD_ARGUMENT')
      for (const [options, message] of [
        [{ cahce: true }, /load knows no option "cahce" \(did you mean 'cache'\?\)/],
        [{ onprogress: () => {} }, /did you mean 'onProgress'/],
        [{ threads: 2 }, /load knows no option "threads"/],
        [{ cache: 5 }, /cache must be/],
        [{ signal: { aborted: false } }, /signal must be an AbortSignal/],
      ] as const)
        await expectRejects(LanguageModel.load(files, options as never), 'BAD_ARGUMENT', message)
    }
    const runtime = openRuntime('baseline')
    await runtime.dispose()
    await expectRejects(LanguageModel.load(files, { runtime }), 'DISPOSED')
  })
})

describe('in a memory of 2.5 MiB', () => {
  function smallRuntime(): Runtime {
    const module = new WebAssembly.Module(readFileSync(new URL('../../build/baseline.wasm', import.meta.url)))
    const memory = new WebAssembly.Memory({ initial: 16, maximum: 40, shared: true })
    return new Runtime({ simd: 'baseline', module, kernels: instantiateKernels(module, memory), memory, fused: false }, {})
  }

  test('a model that does not fit is rejected, and one that does is loaded', async () => {
    using runtime = smallRuntime()
    const empty = runtime.info.memory.used
    await expectRejects(loadSmallModel(runtime, { ...causalConfig, num_tokens: 40_000 }), 'OUT_OF_MEMORY', /the weights needs \d+ bytes/)
    expect(runtime.info.memory.used).toBe(empty)
    const model = await loadSmallModel(runtime, causalConfig)
    expect((await model.forward(tokens)).shape).toEqual([40, V])
  })

  test('sessions can be opened until memory is full, existing ones keep working, and disposing frees memory', async () => {
    using runtime = smallRuntime()
    const model = await loadSmallModel(runtime, causalConfig)
    const expected = (await model.forward(tokens)).data.slice(-V)
    const sessions = [model.createSession()]
    await sessions[0]!.append(tokens.slice(0, 20))
    const saved = sessions[0]!.save()
    for (;;) {
      const used = runtime.info.memory.used
      const opening = await outcomeOf(
        Promise.resolve().then(() => (sessions.length % 2 ? sessions[0]!.clone() : model.restoreSession(saved))),
      )
      if ('value' in opening) {
        sessions.push(opening.value)
        continue
      }
      expect(opening).toMatchObject({ reason: { code: 'OUT_OF_MEMORY' } })
      expect(runtime.info.memory.used).toBe(used)
      break
    }
    expect(sessions.length).toBeGreaterThan(10)
    expectThrows(() => model.createSession(), 'OUT_OF_MEMORY', /dispose of objects that are no longer needed/)
    await expectRejects(model.forward(tokens), 'OUT_OF_MEMORY')
    await expectRejects(model.evaluate(tokens), 'OUT_OF_MEMORY')
    await expectRejects(model.generate(tokens).next(), 'OUT_OF_MEMORY')

    // An append that needs memory besides the session's fails and leaves it as it was.
    const [first] = sessions
    await expectRejects(first!.append(tokens.slice(20)), 'OUT_OF_MEMORY')
    expect(first!.save()).toEqual(saved)
    sessions.pop()!.dispose()
    for (const session of sessions) {
      expect(await session.append(tokens.slice(20))).toEqual(expected)
    }
    model.dispose()
  })
})
