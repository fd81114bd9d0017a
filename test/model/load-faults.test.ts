import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { Runtime } from '../../src/device/runtime.js'
import { instantiateKernels } from '../../src/device/wasm/instantiate.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { expectRejects, expectThrows } from '../support/errors.js'
import { outcomeOf } from '../support/interruptions.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, loadSmallModel, smallModel, smallModelFiles } from '../support/small-models.js'
import { V, tokens, setUp } from '../support/model-fault-cases.js'

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
