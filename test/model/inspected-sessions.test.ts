/** Inspections are the same, to the bit, wherever a session has been, and asking for them changes nothing. */
import { describe, expect, test } from 'vitest'
import { createRuntime } from '../../src/device/create-runtime.js'
import type { Runtime } from '../../src/device/runtime.js'
import { LanguageModel } from '../../src/model/language-model.js'
import type { InspectOptions, Inspection } from '../../src/model/inspection.js'
import type { Session } from '../../src/model/session.js'
import { referenceInspection, withActivationBits } from '../reference/index.js'
import { expectRejects } from '../support/errors.js'
import { moveOn } from '../support/forged-sessions.js'
import { widen } from '../support/int8-models.js'
import { afterRun, countRuns, failAllocation, outcomeOf } from '../support/interruptions.js'
import { leaveOften } from '../support/leaving.js'
import { openRuntime } from '../support/runtimes.js'
import { quantizeModel } from '../../src/model/quantization/quantize-model.js'
import {
  causalConfig,
  loadSmallModel,
  partlyRoutedConfig,
  poisonMemory,
  publishedConfig,
  randomTokens,
  sessionConfigs,
  smallModel,
  smallModelFiles,
} from '../support/small-models.js'

const V = causalConfig.num_tokens
const tokens = randomTokens(70, V)
const usedBy = (runtime: Runtime) => runtime.info.memory.used

const configs = [
  ...sessionConfigs,
  ['windows of one token', { ...causalConfig, routed_window_size: 1, local_attn_window_size: 8 }],
] as const

/** The inspections of a session that reads token by token, and is not inspected where it goes on. */
async function inspectEach(model: LanguageModel, ids = tokens): Promise<Inspection[]> {
  const session = model.createSession()
  const inspections: Inspection[] = []
  for (const id of ids) {
    await session.append([id])
    const copy = session.clone()
    inspections.push(await copy.inspect())
    copy.dispose()
  }
  session.dispose()
  return inspections
}

describe.each(configs)('an inspection (%s)', (_, config) => {
  test('is the same at every token of sessions that read in chunks, were restored or cloned, on other numbers of threads', async () => {
    using runtime = openRuntime('baseline')
    using other = openRuntime('checked-baseline', 3)
    poisonMemory(other)
    leaveOften(other)
    const model = await loadSmallModel(runtime, config)
    const elsewhere = await loadSmallModel(other, config)
    const expected = await inspectEach(model)
    for (let position = 1; position <= tokens.length; position += position < 20 ? 1 : 3) {
      const chunks = elsewhere.createSession()
      await chunks.append(tokens.slice(0, position))
      const saved = chunks.save()
      const restored = elsewhere.restoreSession(saved)
      const clone = restored.clone()
      for (const session of [chunks, restored, clone]) {
        expect(await session.inspect(), `position ${position}`).toEqual(expected[position - 1])
        expect(session.save()).toEqual(saved)
        session.dispose()
      }
    }
  })

  test('changes no bit of the logits, sizes and saved bytes that follow', async () => {
    using runtime = openRuntime('baseline', 2)
    const model = await loadSmallModel(runtime, config)
    const [asked, other] = [model.createSession(), model.createSession()]
    for (const id of tokens) {
      expect(await asked.append([id])).toEqual(await other.append([id]))
      await asked.inspect()
      expect(await asked.inspect()).toEqual(await asked.inspect())
      expect(asked.save()).toEqual(other.save())
      expect(asked.byteLength).toBe(other.byteLength)
    }
  })
})

test('an inspection tells what the token that ended a window read, before that window closes', async () => {
  using runtime = openRuntime('baseline')
  const model = await loadSmallModel(runtime, causalConfig)
  const { routed_window_size: window, num_routed_key_values: most, local_attn_window_size: localWindow } = causalConfig
  for (const { position, layers } of await inspectEach(model)) {
    const start = position - (position % window)
    for (const { localPositions, heldPositions, isQuery, routedWeights } of layers) {
      expect(localPositions[0]).toBe(Math.max(0, position - localWindow))
      expect(localPositions.at(-1)).toBe(position)
      for (const [expert, held] of heldPositions.entries()) {
        expect(held).toHaveLength(Math.min(most, start))
        expect(held.every((each) => each < start)).toBe(true)
        if (start === 0) expect(isQuery[expert]).toBe(false)
        expect(routedWeights[expert] !== undefined).toBe(isQuery[expert])
      }
    }
  }
})

test('an inspection works at any position', async () => {
  using runtime = openRuntime('baseline')
  const model = await loadSmallModel(runtime, causalConfig)
  const session = model.createSession()
  await session.append(tokens.slice(0, 49))
  const { layers } = await session.inspect()
  for (const ahead of [7 * 2 ** 30, 7 * 2 ** 40, 7 * 2 ** 49]) {
    const inspection = await model.restoreSession(moveOn(session.save(), causalConfig, ahead)).inspect()
    expect(inspection.position).toBe(48 + ahead)
    inspection.layers.forEach(({ localPositions, heldPositions, routerScores, isQuery }, index) => {
      const near = layers[index]!
      expect(localPositions).toEqual(near.localPositions.map((each) => each + ahead))
      expect(heldPositions).toEqual(near.heldPositions.map((positions) => positions.map((each) => each + ahead)))
      expect([routerScores, isQuery]).toEqual([near.routerScores, near.isQuery])
    })
  }
})

test('sessions may be inspected while they are decoded together, each as alone', async () => {
  using runtime = openRuntime('relaxed', 2)
  const model = await loadSmallModel(runtime, causalConfig)
  const texts = [1, 2, 3, 4].map((seed) => randomTokens(40, V, seed))
  const alone: Inspection[][] = []
  for (const text of texts) alone.push(await inspectEach(model, text))
  const together = await Promise.all(
    texts.map(async (text) => {
      const session = model.createSession()
      const calls: Promise<Inspection>[] = []
      // an inspection takes its turn among the appends of its session
      const reading = text.map((id) => {
        const appended = session.append([id])
        calls.push(session.inspect())
        return appended
      })
      await Promise.all(reading)
      return Promise.all(calls)
    }),
  )
  expect(together).toEqual(alone)
})

test('a generation may be inspected at every token that it yields, and writes the same', async () => {
  using runtime = openRuntime('baseline')
  const model = await loadSmallModel(runtime, causalConfig)
  const options = { maxTokens: 30, seed: 1 }
  const { ids } = await model.complete([1, 2], options)
  const expected = await inspectEach(model, [1, 2, ...ids])
  const session = model.createSession()
  const written: number[] = []
  for await (const { id } of session.generate([1, 2], options)) {
    // the token that was yielded is read when the next one is asked for
    expect(await session.inspect()).toEqual(expected[written.length + 1])
    written.push(id)
  }
  expect(written).toEqual(ids)
  expect(await session.inspect()).toEqual(expected.at(-1))
})

test('threads compute the same inspection', async () => {
  await using runtime = await createRuntime({ threads: 2 })
  Object.assign(runtime.pool!, { smallWork: 0 })
  using single = openRuntime(runtime.info.simd === 'relaxed' ? 'relaxed' : 'baseline')
  const files = smallModelFiles(smallModel(causalConfig))
  const [model, other] = [await LanguageModel.load(files, { runtime }), await LanguageModel.load(files, { runtime: single })]
  expect(await inspectEach(model)).toEqual(await inspectEach(other))
})

test.each([7, 14] as const)('a model of int8 weights is inspected with its activations of %d bits', async (activationBits) => {
  // nothing is selected, so that no decision hangs on a value that is rounded to the other side
  const config = { ...partlyRoutedConfig, num_routed_queries: 30, num_routed_key_values: 300 }
  const files = await quantizeModel(smallModelFiles(smallModel(config)), { activationBits })
  const { config: json, parameters } = widen(files)
  using runtime = openRuntime('baseline')
  using checked = openRuntime('checked-baseline', 3)
  const model = await LanguageModel.load(files, { runtime })
  const expected = await inspectEach(model)
  expect(await inspectEach(await LanguageModel.load(files, { runtime: checked }))).toEqual(expected)
  const reference = withActivationBits(activationBits, () => referenceInspection(json, parameters, tokens))
  let largest = 0
  expected.at(-1).layers.forEach((layer, index) => {
    const { localWeights, experts } = reference[index]!
    const compare = (actual: Float32Array, weights: Float64Array) =>
      actual.forEach((weight, i) => (largest = Math.max(largest, Math.abs(weight - weights[i]!))))
    layer.localWeights.forEach((weights, head) => compare(weights, localWeights[head]!))
    expect(layer.isQuery).toEqual(experts.map(() => true))
    layer.routedWeights.forEach((heads, expert) =>
      heads!.forEach((weights, head) => compare(weights, experts[expert]!.routedWeights[head]!)),
    )
  })
  expect(largest).toBeLessThan(activationBits === 7 ? 0.03 : 1e-3)
})

describe('an inspection', () => {
  test('is refused for published routing, before the first token, with unknown options, and of what was disposed of', async () => {
    using runtime = openRuntime('baseline')
    const published = await loadSmallModel(runtime, publishedConfig)
    const session = published.createSession()
    await session.append(tokens)
    await expectRejects(session.inspect(), 'UNSUPPORTED', /causal: true/)
    expect(await session.append([])).toHaveLength(V)
    const model = await loadSmallModel(runtime, causalConfig)
    const empty = model.createSession()
    await expectRejects(empty.inspect(), 'BAD_ARGUMENT', /read nothing/)
    await expectRejects(empty.inspect({ sginal: undefined } as InspectOptions), 'BAD_ARGUMENT', /sginal/)
    await empty.append([1])
    expect((await empty.inspect()).token).toBe(1)
    empty.dispose()
    await expectRejects(empty.inspect(), 'DISPOSED')
  })

  test('may be aborted at any place, also while a restored session makes its keys, and leaves it as it was', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, causalConfig)
    const session = model.createSession()
    await session.append(tokens.slice(0, 49))
    const saved = session.save()
    const [expected, next] = [await session.inspect(), await session.append([1])]
    const measured = model.restoreSession(saved)
    const runs = await countRuns(runtime, () => measured.inspect())
    expect(runs).toBeGreaterThan(2)
    const before = usedBy(runtime)
    const aborted = new AbortController()
    aborted.abort('at once')
    for (let nth = 0; nth <= runs; nth++) {
      const restored = model.restoreSession(saved)
      const controller = new AbortController()
      const undo = nth === 0 ? controller.abort('enough') : afterRun(runtime, nth, () => controller.abort('enough'))
      const outcome = await outcomeOf(restored.inspect({ signal: controller.signal }))
      undo?.()
      if ('value' in outcome) expect(outcome.value).toEqual(expected)
      else expect(outcome.reason).toBe('enough')
      expect(restored.save()).toEqual(saved)
      expect(await outcomeOf(restored.inspect({ signal: aborted.signal }))).toEqual({ reason: 'at once' })
      expect(await restored.inspect()).toEqual(expected)
      expect(await restored.append([1])).toEqual(next)
      restored.dispose()
      expect(usedBy(runtime), `aborted at run ${nth}`).toBe(before)
    }
  })

  test('finds all that the last token attended to after an append that failed, wherever that wrote', async () => {
    using runtime = openRuntime('baseline')
    // the local buffer has 40 places, and 8 tokens from position 40 on would move what it keeps to just before that
    const config = { ...causalConfig, local_attn_window_size: 16, routed_window_size: 16 }
    const model = await loadSmallModel(runtime, config)
    const other = model.createSession()
    const expected = await inspectEach(model)
    let failures = 0
    for (let position = 1; position < 60; position++) {
      for (const count of [1, 2, 8]) {
        const session: Session = model.createSession()
        await session.append(tokens.slice(0, position))
        // tokens wait for those of another session, and a chunk may be aborted behind its program
        await other.append([1])
        const controller = new AbortController()
        const undo = afterRun(runtime, 1, () => controller.abort('enough'))
        const outcome = await outcomeOf(session.append(tokens.slice(position, position + count), { signal: controller.signal }))
        undo()
        if ('reason' in outcome) failures++
        const { length } = 'reason' in outcome ? tokens.slice(0, position) : tokens.slice(0, position + count)
        expect(await session.inspect(), `${count} tokens at position ${position}`).toEqual(expected[length - 1])
        session.dispose()
      }
    }
    expect(failures).toBeGreaterThan(100)
  })

  test('leaks nothing, whichever allocation fails, and takes memory only while it is computed', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, causalConfig)
    const session = model.createSession()
    await session.append(tokens)
    const expected = await session.inspect()
    const before = usedBy(runtime)
    await session.inspect()
    expect(usedBy(runtime)).toBe(before)
    const undo = failAllocation(runtime, 1)
    await expectRejects(session.inspect(), 'OUT_OF_MEMORY')
    expect(undo()).toBe(true)
    expect(usedBy(runtime)).toBe(before)
    expect(await session.inspect()).toEqual(expected)
    const pending = session.inspect()
    session.dispose()
    await outcomeOf(pending)
    model.dispose()
    expect(usedBy(runtime)).toBeLessThan(before)
  })
})
