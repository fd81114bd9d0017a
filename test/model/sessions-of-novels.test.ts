import { describe, expect, test } from 'vitest'
import { createRuntime } from '../../src/device/create-runtime.js'
import type { LanguageModel } from '../../src/model/language-model.js'
import { expectSameBits } from '../support/bits.js'
import { afterRun, outcomeOf } from '../support/interruptions.js'
import { loadNovels, novelsGolden } from '../support/models.js'

describe('novels-10m', () => {
  const ids = novelsGolden().inputIds.slice(0, 300)

  test('gives the same bits however its text is split, on real threads or one, restored in between', async () => {
    await using alone = await createRuntime({ threads: 1, simd: 'baseline' })
    await using pooled = await createRuntime({ threads: 2, simd: 'baseline' })
    const models = await Promise.all([alone, pooled].map(loadNovels))
    const [one, two] = models as [LanguageModel, LanguageModel]
    const expected = (await one.forward(ids)).data.slice(-4096)
    let session = two.createSession()
    for (const [i, length] of [1, 126, 1, 1, 100, 27, 1, 43].entries()) {
      const logits = await session.append(ids.slice(session.position, session.position + length))
      if (session.position === 300) expect(logits).toEqual(expected)
      session = models[i % 2]!.restoreSession(session.save())
    }
    expect(session.position).toBe(300)
    expect(await session.append([])).toEqual(expected)
  })

  test('on real threads keeps sessions, forwards and evaluations independent, and leaves sessions unchanged by aborted appends', async () => {
    await using runtime = await createRuntime({ threads: 2, simd: 'baseline' })
    const model = await loadNovels(runtime)
    const text = ids.slice(0, 160)
    const whole = await model.forward(text)
    const at = (length: number) => whole.data.slice((length - 1) * 4096, length * 4096)
    const evaluation = await model.evaluate(text)
    const [first, second] = [model.createSession(), model.createSession()]
    await first.append(text.slice(0, 100))
    const saved = first.save()
    const controller = new AbortController()
    const begun = new Promise<void>((resolve) => afterRun(runtime, 1, resolve))
    const pending = [
      outcomeOf(first.append(text.slice(100), { signal: controller.signal })),
      first.append(text.slice(100, 110)),
      second.append(text.slice(0, 130)),
      model.forward(text),
      model.evaluate(text),
    ] as const
    await begun
    const clone = first.clone()
    expect(first.position).toBe(100)
    expect(Buffer.compare(first.save(), saved)).toBe(0)
    controller.abort('enough')
    const [aborted, appended, elsewhere, forward, evaluated] = await Promise.all(pending)
    expect([aborted, appended, elsewhere]).toEqual([{ reason: 'enough' }, at(110), at(130)])
    expectSameBits(forward, whole)
    expect(evaluated).toEqual(evaluation)
    expect(await clone.append(text.slice(100, 110))).toEqual(at(110))
    expect(await first.append(text.slice(110))).toEqual(at(160))

    const used = runtime.info.memory.used
    const { byteLength } = second
    const last = second.append(text.slice(130))
    second.dispose()
    const outcome = await outcomeOf(last)
    if ('value' in outcome) expect(outcome.value).toEqual(at(160))
    else expect(outcome.reason).toMatchObject({ code: 'DISPOSED' })
    expect(runtime.info.memory.used).toBe(used - byteLength)
  })
})
