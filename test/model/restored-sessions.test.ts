/**
 * A saved causal session holds what keys and values are made of, and its first append makes them again: to the bit,
 * whatever interrupts it.
 */
import { describe, expect, test, vi } from 'vitest'
import { createRuntime } from '../../src/device/create-runtime.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { quantizeModel } from '../../src/model/quantization/quantize-model.js'
import type { Session } from '../../src/model/session.js'
import { createRandom } from '../../src/random.js'
import { expectThrows } from '../support/errors.js'
import { forge, forgePositions, openSession, positionBytes } from '../support/forged-sessions.js'
import { afterRun, countRuns, outcomeOf } from '../support/interruptions.js'
import { novels2Folder, novelsFolder, novelsGolden, treasureIsland } from '../support/models.js'
import { openRuntime, releaseBuilds } from '../support/runtimes.js'
import {
  causalConfig,
  loadSmallModel,
  partlyRoutedConfig,
  poisonMemory,
  randomTokens,
  sessionConfigs,
  smallModel,
  smallModelFiles,
} from '../support/small-models.js'

const V = causalConfig.num_tokens
const tokens = randomTokens(120, V)
/** Positions in a window, at its ends, and after contexts that are full. */
const lengths = [1, 6, 7, 8, 20, 21, 35, 49, 62, 100]

async function sessionAfter(model: LanguageModel, length: number): Promise<Session> {
  const session = model.createSession()
  await session.append(tokens.slice(0, length))
  return session
}

describe.each(sessionConfigs)('a restored session (%s)', (_, config) => {
  test.each(releaseBuilds)('only copies, and is saved and cloned unchanged before its first append, on the %s build', async (build) => {
    using runtime = openRuntime(build, 2)
    poisonMemory(runtime)
    const model = await loadSmallModel(runtime, config)
    for (const length of lengths) {
      const session = await sessionAfter(model, length)
      const saved = session.save()
      const run = vi.spyOn(runtime.device, 'run')
      const restored = model.restoreSession(saved)
      const clone = restored.clone()
      expect(restored.save()).toEqual(saved)
      expect(clone.clone().save()).toEqual(saved)
      expect(restored.byteLength).toBe(session.byteLength)
      expect(run).not.toHaveBeenCalled()
      run.mockRestore()
      const chunk = tokens.slice(length, length + 12)
      const expected = await session.append(chunk)
      expect(await restored.append(chunk)).toEqual(expected)
      expect(await clone.append(chunk)).toEqual(expected)
      expect(restored.save()).toEqual(session.save())
    }
  })

  test('continues token by token, on other numbers of threads, like the one that was saved', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, config)
    const others = await Promise.all([1, 2, 3].map((partitions) => loadSmallModel(openRuntime('checked-baseline', partitions), config)))
    for (const length of lengths) {
      const session = await sessionAfter(model, length)
      const copies = others.map((other) => other.restoreSession(session.save()))
      for (const token of tokens.slice(length, length + 10)) {
        const expected = await session.append([token])
        for (const copy of copies) expect(await copy.append([token])).toEqual(expected)
      }
      copies.forEach((copy) => copy.dispose())
    }
    for (const other of others) await other.runtime.dispose()
  })

  test('is unchanged after a first append that was aborted anywhere, and while that is pending', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, config)
    for (const length of [20, 49, 100]) {
      const session = await sessionAfter(model, length)
      const saved = session.save()
      const rest = tokens.slice(length, length + 9)
      const expected = await session.append(rest)
      const measured = model.restoreSession(saved)
      const runs = await countRuns(runtime, () => measured.append(rest))
      for (let nth = 1; nth <= runs; nth++) {
        const restored = model.restoreSession(saved)
        const controller = new AbortController()
        let clone: Session | undefined
        const undo = afterRun(runtime, nth, () => {
          expect(restored.save()).toEqual(saved)
          clone = restored.clone()
          controller.abort('enough')
        })
        const outcome = await outcomeOf(restored.append(rest, { signal: controller.signal }))
        undo()
        if ('value' in outcome) {
          // the last token had been read: then it counts as read
          expect(nth).toBeGreaterThan(runs - 3)
          expect(outcome.value).toEqual(expected)
        } else {
          expect(outcome.reason).toBe('enough')
          expect(restored.position).toBe(length)
          expect(restored.save()).toEqual(saved)
          expect(await restored.append(rest)).toEqual(expected)
        }
        if (clone?.position === length) expect(await clone.append(rest)).toEqual(expected)
        restored.dispose()
        clone?.dispose()
      }
    }
  })
})

test('a restored session that outgrows its memory with the first append continues like the one that was saved', async () => {
  using runtime = openRuntime('baseline', 2)
  const wide = { ...causalConfig, local_attn_window_size: 1400, routed_window_size: 300, num_routed_key_values: 3000 }
  const model = await loadSmallModel(runtime, wide)
  const text = randomTokens(1100, V)
  const session = model.createSession()
  await session.append(text.slice(0, 1000))
  const restored = model.restoreSession(session.save())
  const clone = restored.clone()
  const expected = await session.append(text.slice(1000))
  expect(await restored.append(text.slice(1000))).toEqual(expected)
  expect(restored.save()).toEqual(session.save())
  expect(await clone.append(text.slice(1000))).toEqual(expected)
})

test.each([7, 14] as const)(
  'a restored session of an int8 model continues to the bit, with activations of %d bits',
  async (activationBits) => {
    using runtime = openRuntime('baseline')
    using checked = openRuntime('checked-baseline', 3)
    for (const config of [partlyRoutedConfig, { ...causalConfig, num_routed_key_values: 30 }]) {
      const files = await quantizeModel(smallModelFiles(smallModel(config)), { activationBits })
      const [model, other] = [await LanguageModel.load(files, { runtime }), await LanguageModel.load(files, { runtime: checked })]
      for (const length of lengths) {
        const session = await sessionAfter(model, length)
        const restored = other.restoreSession(session.save())
        for (const size of [1, 9, 5]) {
          const chunk = tokens.slice(session.position, session.position + size)
          expect(await restored.append(chunk)).toEqual(await session.append(chunk))
        }
        expect(restored.save()).toEqual(session.save())
        restored.dispose()
      }
      model.dispose()
      other.dispose()
    }
  },
)

describe('a saved state', () => {
  test('is rejected if positions are not ascending integers of closed windows', async () => {
    using runtime = openRuntime('checked-baseline')
    const model = await loadSmallModel(runtime, causalConfig)
    const saved = (await sessionAfter(model, 39)).save()
    const { used } = runtime.info.memory
    const count = positionBytes(saved, causalConfig) / 8
    expect(count).toBe(2 * 2 * 11)
    for (const wrong of [NaN, Infinity, -Infinity, -1, 0.5, 35, 36, 38, 39, 2 ** 32, 2 ** 53, -(2 ** 60), 1e300]) {
      for (const at of [0, 10, 11, count - 1]) {
        const forged = forgePositions(saved, causalConfig, (position, i) => (i === at ? wrong : position))
        expectThrows(() => model.restoreSession(forged), 'BAD_FILE', /position 39 does not hold these \d+ bytes/)
      }
    }
    const doubled = forgePositions(saved, causalConfig, (position, i) => (i === 3 ? position - 1e-9 : position))
    expectThrows(() => model.restoreSession(doubled), 'BAD_FILE')
    const { sequence } = openSession(saved, causalConfig)
    const swapped = sequence.slice()
    swapped.set(sequence.subarray(0, 8), 8)
    swapped.set(sequence.subarray(8, 16), 0)
    for (const each of [swapped, sequence.subarray(0, 8), sequence.subarray(8), sequence.subarray(0, 3), new Uint8Array(0)])
      expectThrows(() => model.restoreSession(forge(saved, causalConfig, { sequence: each })), 'BAD_FILE')
    expect(runtime.info.memory.used).toBe(used)
  })

  test.each([
    ['all blocks routed', causalConfig],
    ['one block routed', partlyRoutedConfig],
  ] as const)('altered anywhere is either rejected or works, within its memory (%s)', async (_, config) => {
    using runtime = openRuntime('checked-relaxed', 2)
    const model = await loadSmallModel(runtime, config)
    const saved = (await sessionAfter(model, 46)).save()
    const { sequence } = openSession(saved, config)
    const { uniform } = createRandom(7)
    const outcomes = { refused: 0, read: 0 }
    for (let round = 0; round < 300; round++) {
      const altered = sequence.slice()
      // as often among positions as among floats
      const end = round % 2 ? sequence.length : positionBytes(saved, config)
      for (let n = 0; n <= round % 3; n++) altered[Math.floor(uniform() * end)] = Math.floor(uniform() * 256)
      let session: Session
      try {
        session = model.restoreSession(forge(saved, config, { sequence: altered }))
      } catch (error) {
        expect(error).toMatchObject({ name: 'RoutedAttentionError', code: 'BAD_FILE' })
        outcomes.refused++
        continue
      }
      expect(session.save()).toHaveLength(saved.length)
      expect(await session.append(tokens.slice(0, 20))).toHaveLength(V)
      outcomes.read++
      session.dispose()
    }
    expect(outcomes.refused).toBeGreaterThan(50)
    expect(outcomes.read).toBeGreaterThan(50)
  })
})

describe('sessions of novels-10ms', () => {
  test('are at most 2.5 MB when saved, and 0.35 MB while they are short', async () => {
    await using runtime = await createRuntime({ threads: 2, simd: 'baseline' })
    const model = await LanguageModel.load(novelsFolder, { runtime })
    const text = treasureIsland(model).slice(0, 4096 + 127)
    const session = model.createSession()
    const sizes: number[] = []
    for (const position of [0, 1, 31]) {
      await outcomeOf(session.append(text.slice(session.position, position)))
      sizes.push(session.save().length)
    }
    expect(Math.max(...sizes)).toBeLessThanOrEqual(350_000)
    for (const position of [128, 2048, 4096, 4096 + 127]) {
      await session.append(text.slice(session.position, position))
      expect(session.save().length, `at ${position}`).toBeLessThanOrEqual(2_500_000)
    }
    const restored = model.restoreSession(session.save())
    expect(await restored.append(text.slice(0, 3))).toEqual(await session.append(text.slice(0, 3)))
  })

  // what keys and values took alone
  test.each([
    [novelsFolder, 7_398_144],
    [novels2Folder, 4_067_584],
  ])('hold at most 1.35 times the memory of keys and values (%s)', async (folder, alone) => {
    await using runtime = await createRuntime({ threads: 1, simd: 'baseline' })
    const model = await LanguageModel.load(folder, { runtime })
    expect(model.createSession().byteLength).toBeLessThanOrEqual(1.35 * alone)
  })

  test('are unchanged after a first append that was aborted on real threads', async () => {
    await using runtime = await createRuntime({ threads: 2, simd: 'baseline' })
    const model = await LanguageModel.load(novelsFolder, { runtime })
    const ids = novelsGolden().inputIds.slice(0, 300)
    const session = model.createSession()
    await session.append(ids.slice(0, 290))
    const saved = Buffer.from(session.save())
    const expected = await session.append(ids.slice(290))
    for (let nth = 1; nth <= 3; nth++) {
      const restored = model.restoreSession(saved)
      const controller = new AbortController()
      const undo = afterRun(runtime, nth, () => controller.abort('enough'))
      expect(await outcomeOf(restored.append(ids.slice(290), { signal: controller.signal }))).toEqual({ reason: 'enough' })
      undo()
      expect(saved.equals(restored.save())).toBe(true)
      expect(await restored.clone().append(ids.slice(290))).toEqual(expected)
      expect(await restored.append(ids.slice(290))).toEqual(expected)
    }
  })

  test.each([novelsFolder, novels2Folder])('give the same bits wherever they are restored (%s)', async (folder) => {
    await using runtime = await createRuntime({ threads: 2, simd: 'baseline' })
    await using alone = await createRuntime({ threads: 1, simd: 'baseline' })
    const [model, other] = [await LanguageModel.load(folder, { runtime }), await LanguageModel.load(folder, { runtime: alone })]
    const ids = novelsGolden(folder).inputIds.slice(0, 300)
    const session = model.createSession()
    for (const size of [100, 28, 1, 150]) {
      await session.append(ids.slice(session.position, session.position + size))
      const next = ids.slice(session.position, session.position + 4)
      const expected = await session.clone().append(next)
      expect(await other.restoreSession(session.save()).append(next)).toEqual(expected)
    }
  })
})
