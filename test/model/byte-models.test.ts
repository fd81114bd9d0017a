/** Models whose tokens are bytes: how they are requested, and that text round-trips. */
import { afterAll, describe, expect, test } from 'vitest'
import { LanguageModel, type LoadOptions } from '../../src/index.js'
import { expectRejects, expectThrows } from '../support/errors.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, smallModel, smallModelFiles } from '../support/small-models.js'

const runtime = openRuntime('baseline')
afterAll(() => runtime.dispose())

function load(config: Record<string, unknown>, options: LoadOptions = {}): Promise<LanguageModel> {
  return LanguageModel.load(smallModelFiles(smallModel({ ...causalConfig, num_tokens: 257, ...config })), { runtime, ...options })
}

describe('a model of bytes', () => {
  test.each<[string, Record<string, unknown>, LoadOptions]>([
    ['by an option', {}, { tokenizer: 'bytes' }],
    ['by config.json', { tokenizer: 'bytes' }, {}],
    ['by both', { tokenizer: 'bytes' }, { tokenizer: 'bytes' }],
  ])('is requested by %s', async (_name, config, options) => {
    using model = await load(config, options)
    expect(model.hasTokenizer).toBe(true)
    const text = 'a é 漢 🙂'
    expect(model.tokenizer.encode(text)).toEqual([...new TextEncoder().encode(text)])
    expect(model.tokenizer.decode([...new TextEncoder().encode(text), 256])).toBe(text)
    expectThrows(() => model.tokenizer.decode([257]), 'BAD_ARGUMENT', /256/)
  })

  test('needs 256 tokens, and no other kind of tokenizer is known', async () => {
    await expectRejects(load({ num_tokens: 255 }, { tokenizer: 'bytes' }), 'BAD_ARGUMENT', /256/)
    await expectRejects(load({ num_tokens: 255, tokenizer: 'bytes' }), 'BAD_CONFIG', /256/)
    await expectRejects(load({}, { tokenizer: 'words' } as never), 'BAD_ARGUMENT', /bytes/)
    await expectRejects(load({ tokenizer: 'words' }), 'BAD_CONFIG', /bytes/)
    ;(await load({ num_tokens: 256 }, { tokenizer: 'bytes' })).dispose()
  })

  test('writes whole characters wherever tokens split them, up to a stop text', async () => {
    using model = await load({ tokenizer: 'bytes' })
    const ids: number[] = []
    let text = ''
    for await (const token of model.generate('é', { maxTokens: 60, seed: 2 })) {
      ids.push(token.id)
      text += token.text
    }
    expect(model.tokenizer.decode([...new TextEncoder().encode('é'), ...ids])).toBe(`é${text}`)
    const stop = text.slice(20, 23)
    let stopped = ''
    for await (const token of model.generate('é', { maxTokens: 60, seed: 2, stop })) stopped += token.text
    expect(stopped).toBe(text.slice(0, text.indexOf(stop)))
  })
})
