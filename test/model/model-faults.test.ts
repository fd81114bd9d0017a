import { describe, expect, test } from 'vitest'
import type { Runtime } from '../../src/device/runtime.js'
import type { ErrorCode } from '../../src/errors.js'
import type { GenerateOptions } from '../../src/model/generation/generate-options.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { MixtureOfAutoregressiveAttention } from '../../src/model/layer.js'
import { Tensor } from '../../src/tensor.js'
import { expectRejects, expectThrows } from '../support/errors.js'
import { afterRun, failAllocation, outcomeOf } from '../support/interruptions.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, loadSmallModel, randomTokens, smallModel, smallModelFiles, type SmallModel } from '../support/small-models.js'
import { V, tokens, kinds, setUp } from '../support/model-fault-cases.js'

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
