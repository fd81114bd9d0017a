import { describe, expect, test } from 'vitest'
import type { GeneratedToken, LanguageModel, PromptProgress } from '../../src/index.js'
import { expectRejects, expectThrows } from '../support/errors.js'
import { afterRun, outcomeOf } from '../support/interruptions.js'
import { openRuntime } from '../support/runtimes.js'
import { loadSmallModel, randomTokens } from '../support/small-models.js'
import { V, prompt, kinds, collect, idsOf } from '../support/generation-cases.js'

describe.each(kinds)('a session of a %s model that generates', (_kind, config) => {
  const setUp = async (fields: object = {}) => {
    const runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, { ...config, ...fields })
    return { runtime, model, session: model.createSession(), [Symbol.dispose]: () => void runtime.dispose() }
  }
  const logitsAfter = async (model: LanguageModel, ids: readonly number[]) => (await model.forward(ids)).data.slice(-V)

  test('continues from its position, and has read all of the text afterwards', async () => {
    using made = await setUp()
    const { model, session } = made
    await session.append(prompt.slice(0, 5))
    const first = idsOf(await collect(session.generate(prompt.slice(5), { maxTokens: 4, seed: 1 })))
    expect(first).toEqual(idsOf(await collect(model.generate(prompt, { maxTokens: 4, seed: 1 }))))
    expect(session.position).toBe(prompt.length + 4)
    const second = idsOf(await collect(session.generate(null, { maxTokens: 3, seed: 2 })))
    expect(second).toEqual(idsOf(await collect(model.generate([...prompt, ...first], { maxTokens: 3, seed: 2 }))))
    expect(session.position).toBe(prompt.length + 7)
    expect(await session.append([])).toEqual(await logitsAfter(model, [...prompt, ...first, ...second]))
    expect(await collect(session.generate([2, 3], { maxTokens: 0 }))).toEqual([])
    expect(session.position).toBe(prompt.length + 9)
  })

  test('has read every token that was yielded, however it ends', async () => {
    using made = await setUp()
    const { model, session, runtime } = made
    const read = [...prompt]
    for await (const { id } of session.generate(prompt, { seed: 1 })) {
      read.push(id)
      if (read.length === prompt.length + 3) break
    }
    expect(session.position).toBe(read.length)
    const thrown = new Error('the reader fails')
    const reading = async () => {
      for await (const { id } of session.generate(null, { seed: 2 })) {
        read.push(id)
        throw thrown
      }
    }
    expect(await outcomeOf(reading())).toEqual({ reason: thrown })
    expect(session.position).toBe(read.length)
    const controller = new AbortController()
    const aborted = async () => {
      for await (const { id } of session.generate(null, { seed: 2, signal: controller.signal })) {
        read.push(id)
        if (read.length % 4 === 0) controller.abort('enough')
      }
    }
    expect(await outcomeOf(aborted())).toEqual({ reason: 'enough' })
    const failing = { seed: 4, logitsProcessor: (_: Float32Array, ids: readonly number[]) => void (ids.length === 2 && throwIt()) }
    const throwIt = () => {
      throw thrown
    }
    const failed = async () => {
      for await (const { id } of session.generate(null, failing)) read.push(id)
    }
    expect(await outcomeOf(failed())).toEqual({ reason: thrown })
    expect(session.position).toBe(read.length)
    expect(await session.append([])).toEqual(await logitsAfter(model, read))

    // while the prompt is read: as any append
    const before = session.save()
    const during = new AbortController()
    const undo = afterRun(runtime, 1, () => during.abort('soon'))
    expect(await outcomeOf(collect(session.generate(randomTokens(300, V), { signal: during.signal })))).toEqual({ reason: 'soon' })
    undo()
    expect(session.save()).toEqual(before)
  })

  test('rejects other calls meanwhile', async () => {
    using made = await setUp()
    const { model, session } = made
    const never = session.generate(prompt)
    await session.append(prompt) // it has not begun
    const generation = session.generate(null, { seed: 1 })
    const { value } = await generation.next()
    await expectRejects(session.append([1]), 'BAD_ARGUMENT', /generation/)
    await expectRejects(session.append([1], { bits: true }), 'BAD_ARGUMENT', /generation/)
    await expectRejects(never.next(), 'BAD_ARGUMENT', /generation/)
    await expectRejects(session.generate(null).next(), 'BAD_ARGUMENT', /generation/)
    const clone = session.clone()
    expect(clone.position).toBe(session.position)
    await clone.append([1])
    await generation.return()
    await generation.return()
    expect(session.position).toBe(prompt.length + 1)
    expect(await session.append([2])).toEqual(await logitsAfter(model, [...prompt, (value as GeneratedToken).id, 2]))
    clone.dispose()
    // disposed of meanwhile
    const last = session.generate(null, { seed: 1 })
    await last.next()
    session.dispose()
    await expectRejects(last.next(), 'DISPOSED')
    const lost = model.createSession()
    const begun = lost.generate(prompt)
    await begun.next()
    lost.dispose()
    expect(await begun.return()).toEqual({ done: true, value: undefined })
  })

  test('has read nothing of a prompt whose onProgress throws at the last token, however short it is', async () => {
    using made = await setUp()
    const { session } = made
    await session.append(prompt)
    const before = session.save()
    const thrown = new Error('the listener fails')
    for (const length of [1, 2, 40]) {
      const told: PromptProgress[] = []
      const onProgress = (progress: PromptProgress) => {
        told.push(progress)
        if (progress.done === length) throw thrown
      }
      const generation = collect(session.generate(randomTokens(length, V), { maxTokens: 1, onProgress }))
      expect(await outcomeOf(generation)).toEqual({ reason: thrown })
      expect(session.save()).toEqual(before)
      expect(told.at(-1)).toEqual({ type: 'prompt', done: length, total: length })
    }
  })

  test('does not wait for a processor once it is aborted or disposed of', async () => {
    const ends = ['signal', 'session', 'model', 'runtime'] as const
    for (const what of ends) {
      for (const isSynchronous of [true, false]) {
        using made = await setUp()
        const { runtime, model, session } = made
        await session.append(prompt)
        const controller = new AbortController()
        const end = () => {
          if (what === 'signal') controller.abort('enough')
          else void made[what].dispose()
        }
        const logitsProcessor = () => {
          if (isSynchronous) end()
          else setTimeout(end)
          return new Promise<void>(() => undefined)
        }
        const { used } = runtime.info.memory
        const generation = session.generate(null, { signal: controller.signal, logitsProcessor })
        if (what !== 'signal') {
          await expectRejects(generation.next(), 'DISPOSED')
          continue
        }
        expect(await outcomeOf(generation.next())).toEqual({ reason: 'enough' })
        expect(session.position).toBe(prompt.length)
        await session.append([1])
        const other = { signal: controller.signal, logitsProcessor: () => new Promise<void>(() => undefined) }
        expect(await outcomeOf(model.complete(prompt, other))).toEqual({ reason: 'enough' })
        expect(runtime.info.memory.used).toBe(used)
      }
    }
  })

  test('needs something to continue from, and room', async () => {
    using made = await setUp({ max_positions: 16 })
    const { model, session } = made
    await expectRejects(session.generate(null).next(), 'BAD_ARGUMENT', /new session/)
    expectThrows(() => model.generate(null as never), 'BAD_ARGUMENT', /token ids/)
    expectThrows(() => session.generate([]), 'BAD_ARGUMENT', /at least one token/)
    expectThrows(() => session.generate(randomTokens(17, V)), 'BAD_ARGUMENT', /max_positions/)
    const tokens = await collect(session.generate(prompt, { maxTokens: Infinity }))
    expect(tokens).toHaveLength(4)
    expect(tokens.at(-1).finishReason).toBe('length')
    expect(session.position).toBe(16)
    expect(await collect(session.generate(null))).toEqual([])
    expectThrows(() => session.generate([1]), 'BAD_ARGUMENT', /max_positions/)
    // other calls that wait may have taken the room
    const other = model.createSession()
    const late = other.generate(prompt)
    const pending = other.append(prompt)
    await expectRejects(late.next(), 'BAD_ARGUMENT', /max_positions/)
    await pending
    expect(await other.append([1])).toHaveLength(V)
  })
})
