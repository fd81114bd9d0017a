import { afterAll, describe, expect, test } from 'vitest'
import type { Runtime } from '../../src/device/runtime.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { modelCases } from '../support/golden.js'
import { modelFiles } from '../support/models.js'
import { openRuntime } from '../support/runtimes.js'
import { noAdapter, openGpuRuntime } from './gpu.js'

const causal = modelCases().find(({ name }) => name.includes('causal')) ?? modelCases()[0]!

describe.skipIf(noAdapter)('the surprisal of tokens on a GPU', () => {
  let runtime: Runtime | undefined
  afterAll(() => runtime?.dispose())

  test('has the same bits however they are split, near those of the CPU, and a session can generate on', async () => {
    runtime = (await openGpuRuntime()).runtime
    const model = await LanguageModel.load(modelFiles(causal), { runtime })
    const ids = causal.inputIds.slice(0, 20)
    const whole = await model.createSession().append(ids, { bits: true })
    const session = model.createSession()
    const found: number[] = []
    for (const [from, to] of [[0, 1], [1, 2], [2, 9], [9, 20]] as const) found.push(...(await session.append(ids.slice(from, to), { bits: true })).bits) // prettier-ignore
    expect(Float32Array.from(found)).toEqual(whole.bits)
    expect(await session.append([])).toEqual(whole.logits)

    using wasm = openRuntime('baseline')
    const twin = (await LanguageModel.load(modelFiles(causal), { runtime: wasm })).createSession()
    const { bits } = await twin.append(ids, { bits: true })
    expect(whole.bits[0]).toBeNaN()
    for (let i = 1; i < ids.length; i++) expect(whole.bits[i]).toBeCloseTo(bits[i]!, 2)
    const written: number[][] = []
    for (const each of [session, twin]) {
      const ids: number[] = []
      for await (const { id } of each.generate(null, { maxTokens: 3, temperature: 0, topLogprobs: 2 })) ids.push(id)
      written.push(ids)
    }
    expect(written[0]).toEqual(written[1])
    expect(session.position).toBe(23)
  })
})
