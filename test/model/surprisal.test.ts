import { describe, expect, test } from 'vitest'
import { expectRejects } from '../support/errors.js'
import { failAllocation, outcomeOf } from '../support/interruptions.js'
import { openRuntime, releaseBuilds } from '../support/runtimes.js'
import { causalConfig, loadSmallModel, partlyRoutedConfig, publishedConfig, randomTokens } from '../support/small-models.js'

const V = causalConfig.num_tokens
const kinds = [
  ['strictly causal', causalConfig],
  ['partly routed', partlyRoutedConfig],
  ['published', publishedConfig],
] as const

/** -log2 of the probability that logits give to a token. */
function surprisal(logits: Float32Array, id: number): number {
  const largest = logits.reduce((a, b) => Math.max(a, b))
  const sum = logits.reduce((sum, logit) => sum + Math.exp(logit - largest), 0)
  return (Math.log(sum) - (logits[id]! - largest)) / Math.LN2
}

describe.each(kinds)('the surprisal of tokens that a %s model reads', (kind, config) => {
  const tokens = randomTokens(kind === 'published' ? 45 : 400, V)

  test.each(releaseBuilds)('is that of each given those before it, with the same bits however they are split (%s build)', async (build) => {
    using runtime = openRuntime(build)
    const model = await loadSmallModel(runtime, config)
    const whole = model.createSession()
    const { logits, bits } = await whole.append(tokens, { bits: true })
    expect(bits).toHaveLength(tokens.length)
    expect(bits[0]).toBeNaN()
    const plain = model.createSession()
    let last = await plain.append([tokens[0]!])
    for (const [index, id] of tokens.entries()) {
      if (index === 0) continue
      expect(bits[index]).toBeCloseTo(surprisal(last, id), 4)
      last = await plain.append([id])
    }
    expect(logits).toEqual(last)
    expect(whole.save()).toEqual(plain.save())
    for (const part of [1, 2, 7, 64, 399]) {
      const session = model.createSession()
      const found: number[] = []
      for (let start = 0; start < tokens.length; start += part) {
        const result = await session.append(tokens.slice(start, start + part), { bits: true })
        found.push(...result.bits)
      }
      expect(Float32Array.from(found)).toEqual(bits)
      const restored = model.restoreSession(session.save())
      expect((await restored.append([1], { bits: true })).bits).toEqual((await session.append([1], { bits: true })).bits)
      session.dispose()
      restored.dispose()
    }
    expect(await whole.append([], { bits: true })).toEqual({ logits, bits: new Float32Array(0) })
  })

  test('leaves the session unchanged if it fails', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, config)
    const session = model.createSession()
    await expectRejects(session.append([], { bits: true }), 'BAD_ARGUMENT')
    for (const bits of [null, 1, 'yes']) await expectRejects(session.append([1], { bits } as never), 'BAD_ARGUMENT', /bits/)
    await expectRejects(session.append([V], { bits: true }), 'BAD_ARGUMENT')
    await session.append(tokens.slice(0, 5))
    const saved = session.save()
    expect(await outcomeOf(session.append(tokens, { bits: true, signal: AbortSignal.abort('no') }))).toEqual({ reason: 'no' })
    expect(session.save()).toEqual(saved)
    let failed = 0
    for (let nth = 1; nth < 4; nth++) {
      const before = session.save()
      const undo = failAllocation(runtime, nth)
      const outcome = await outcomeOf(session.append(tokens.slice(0, 20), { bits: true }))
      undo()
      if (!('reason' in outcome)) continue
      failed++
      expect(outcome.reason).toMatchObject({ code: 'OUT_OF_MEMORY' })
      expect(session.save()).toEqual(before)
    }
    expect(failed).toBeGreaterThan(0)
  })
})

test('evaluate gives the surprisal of each token, chunk by chunk', async () => {
  using runtime = openRuntime('baseline')
  const tokens = randomTokens(100, V)
  for (const [, config] of kinds) {
    const model = await loadSmallModel(runtime, config)
    const chunks: [number, number][] = []
    const all: number[] = []
    const done: number[] = []
    const { bitsPerToken, tokens: count } = await model.evaluate(tokens, {
      chunk: 40,
      onBits: (bits, start) => {
        chunks.push([start, bits.length])
        all.push(...bits)
      },
      onProgress: (event) => done.push(event.done - all.length),
    })
    expect(chunks).toEqual([[1, 40], [41, 40], [81, 19]]) // prettier-ignore
    expect(done).toEqual([0, 0, 0])
    expect(count).toBe(99)
    expect(all.reduce((a, b) => a + b) / 99).toBeCloseTo(bitsPerToken, 5)
    if (config === causalConfig) {
      const { bits } = await model.createSession().append(tokens.slice(0, 41), { bits: true })
      expect(Float32Array.from(all.slice(0, 40))).toEqual(bits.slice(1))
    }
    const thrown = new Error('no')
    const onBits = () => {
      throw thrown
    }
    expect(await outcomeOf(model.evaluate(tokens, { onBits }))).toEqual({ reason: thrown })
    await expectRejects(model.evaluate(tokens, { onBits: 5 } as never), 'BAD_ARGUMENT', /onBits/)
  }
})

test('an append that waits to measure its first token can be aborted', async () => {
  using runtime = openRuntime('baseline')
  const model = await loadSmallModel(runtime, causalConfig)
  const [busy, waiting] = [model.createSession(), model.createSession()]
  await waiting.append([1, 2, 3])
  const { device } = runtime
  const run = device.run.bind(device)
  let release = () => {}
  // the first run holds what both need until it is released
  const isHeld = new Promise<void>((held) => {
    device.run = (...call) => {
      device.run = run
      held()
      return new Promise<void>((resolve) => (release = resolve)).then(() => run(...call))
    }
  })
  const long = busy.append(randomTokens(100, V))
  await isHeld
  const controller = new AbortController()
  const pending = outcomeOf(waiting.append([4], { bits: true, signal: controller.signal }))
  controller.abort('enough')
  expect(await pending).toEqual({ reason: 'enough' })
  release()
  await long
  expect(await waiting.append([4])).toHaveLength(V)
})
