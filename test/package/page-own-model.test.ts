import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Look, ReadingProgress, WriteEvent } from '../../examples/page/src/protocol.js'
import { Reader } from '../../examples/page/src/engine/reader.js'
import { TokenTexts } from '../../examples/page/src/engine/token-texts.js'
import { Writer } from '../../examples/page/src/engine/writer.js'
import { attentionOf, headsOf, lookOfHead } from '../../examples/page/src/ui/attention.js'
import { createRuntime, LanguageModel, type Runtime } from '../../src/index.js'
import { causalConfig, publishedConfig, sessionConfigs, smallModel, smallModelFiles } from '../support/small-models.js'

let runtime: Runtime

beforeAll(async () => {
  runtime = await createRuntime({ threads: 1 })
})

afterAll(() => runtime.dispose())

const sampling = {
  ...{ temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, frequencyPenalty: 0, presencePenalty: 0 },
  ...{ seed: 1, maxTokens: 8 },
}

/** The weights of single heads add up to 1, and their mean is what is shown of all. */
function expectHeads(look: Look): void {
  const ofHeads = Array.from({ length: causalConfig.heads }, (_, head) => lookOfHead(look, head))
  expect(lookOfHead(look, undefined)).toBe(look)
  look.layers.forEach((layer, index) => {
    const local = ofHeads.map(({ layers }) => layers[index]!.local)
    local.forEach((weights) => expect(weights.reduce((sum, weight) => sum + weight, 0)).toBeCloseTo(1, 5))
    layer.local.forEach((mean, i) => expect(local.reduce((sum, weights) => sum + weights[i]!, 0) / local.length).toBeCloseTo(mean, 6))
    layer.experts.forEach(({ weights }, expert) => {
      const routed = ofHeads.map(({ layers }) => layers[index]!.experts[expert]!.weights)
      weights?.forEach((mean, i) => expect(routed.reduce((sum, row) => sum + row![i]!, 0) / routed.length).toBeCloseTo(mean, 6))
    })
  })
}

describe('the page with a visitor’s own model of bytes', () => {
  const { signal } = new AbortController()
  const load = (config: object) =>
    LanguageModel.load(smallModelFiles(smallModel({ ...config, num_tokens: 256 })), { runtime, tokenizer: 'bytes' })

  test('several experts in all layers are looked at; texts end with the model’s last position', async () => {
    const own = await load({ ...causalConfig, num_experts: 3, max_positions: 300 })
    const texts = new TokenTexts(own.tokenizer)
    const writer = new Writer(own, texts)
    const events: WriteEvent[] = []
    const long = { ...sampling, maxTokens: 2000 }
    expect(await writer.write('The sea. '.repeat(100), long, signal, (event) => void events.push(event))).toMatchObject({ tokens: 150 })
    expect(writer.text.length).toBe(300)
    expectHeads(events.flatMap((event) => ('look' in event ? [event.look] : [])).at(-1))
    const held = events.flatMap((event) => ('held' in event ? [event.held] : [])).at(-1)
    expect(held.layers.map((layer) => layer.held.map(({ length }) => length))).toEqual([[11, 11, 11], [11, 11, 11]]) // prettier-ignore
    await expect(writer.write('', long, signal, () => {})).rejects.toThrow(/300 tokens/)
    writer.dispose()

    const reader = new Reader(own, texts, new Blob(['The sea. '.repeat(200)]))
    const read: ReadingProgress[] = []
    for (let times = 0; times < 2; times++)
      await expect(reader.read(signal, (progress) => void read.push(progress))).rejects.toThrow(/300 tokens at most/)
    expect(read.at(-1)).toMatchObject({ tokens: 300, bytesTotal: 1800 })
    expect(read.at(-1).bytesDone).toBeLessThan(1800)
    reader.dispose()
    own.dispose()
  })

  test.each(sessionConfigs.map(([name, config]) => ({ name, config })))('$name: written, read and looked at', async ({ config }) => {
    const own = await load(config)
    const texts = new TokenTexts(own.tokenizer)
    const writer = new Writer(own, texts)
    const events: WriteEvent[] = []
    const { maxTokens: tokens } = sampling
    expect(await writer.write('The sea. '.repeat(9), sampling, signal, (event) => void events.push(event))).toMatchObject({ tokens })
    const looks = events.flatMap((event) => ('look' in event ? [event.look] : []))
    expect(looks.length).toBeGreaterThan(0)
    for (const look of looks)
      for (const layer of look.layers) {
        expect(headsOf(layer)).toBe(own.config.layer.heads)
        const attention = attentionOf(layer)
        expect(attention.length).toBe(layer.local.length - 1 + layer.experts.reduce((sum, { held }) => sum + held.length, 0))
        for (const { position, weight, share } of attention) {
          expect(position).toBeLessThanOrEqual(look.position)
          expect(weight).toBeGreaterThanOrEqual(0)
          expect(share).toBeGreaterThanOrEqual(0)
          expect(share).toBeLessThanOrEqual(1)
        }
      }
    writer.dispose()
    const reader = new Reader(own, texts, new Blob(['The sea. '.repeat(9)]))
    expect(await reader.read(signal, () => {})).toMatchObject({ tokens: 81 })
    reader.dispose()
    own.dispose()
  })

  test('published routing is written with as the API writes, without bits of the prompt', async () => {
    const own = await load(publishedConfig)
    const writer = new Writer(own, new TokenTexts(own.tokenizer))
    await writer.write('The sea. '.repeat(20), sampling, signal, () => {})
    const { ids } = await own.complete('The sea. '.repeat(20), { temperature: 0, maxTokens: 8 })
    expect([...writer.text.ids.view(180)]).toEqual([...ids])
    expect([...writer.text.bits.view()].map(Number.isNaN)).toEqual([...Array<boolean>(180).fill(true), ...Array<boolean>(8).fill(false)])
    writer.dispose()
    own.dispose()
  })

  test('published routing is read in pieces, each as evaluate reads it, and any token is looked at', async () => {
    const own = await load({ ...publishedConfig, max_positions: 60 })
    const text = 'The café was “open”. '.repeat(12)
    const reader = new Reader(own, new TokenTexts(own.tokenizer), new Blob([text]))
    const ids = own.tokenizer.encode(text)
    const stopped = new AbortController()
    stopped.abort()
    expect(await reader.read(stopped.signal, () => {})).toMatchObject({ tokens: 0 })
    expect(await reader.read(signal, () => {})).toMatchObject({ tokens: ids.length, bytesDone: ids.length })
    const expected = new Float32Array(ids.length).fill(NaN)
    for (let at = 0; at < ids.length; at += 60)
      await own.evaluate(ids.slice(at, at + 60), { onBits: (bits, start) => expected.set(bits, at + start) })
    expect(reader.text.bits.view()).toEqual(expected)
    const session = await reader.text.sessionAt(130, signal)
    expect(session.position).toBe(10)
    session.dispose()
    reader.dispose()
    own.dispose()
  })
})
