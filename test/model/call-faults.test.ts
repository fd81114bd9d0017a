import { getEventListeners } from 'node:events'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { createRuntime } from '../../src/device/create-runtime.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { expectRejects, expectThrows } from '../support/errors.js'
import { afterRun, countRuns, outcomeOf } from '../support/interruptions.js'
import { novelsFolder } from '../support/models.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, smallModel, smallModelFiles } from '../support/small-models.js'
import { V, tokens, kinds, setUp } from '../support/model-fault-cases.js'

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
  })
})
