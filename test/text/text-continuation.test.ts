import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createTokenizer, type ModelTokenizer } from '../../src/io/tokenizer.js'
import { createTextStream } from '../../src/model/text/text-stream.js'
import { tokenizerFiles } from '../support/tokenizer-files.js'
import { runs } from '../support/seed.js'

/** Texts of the tokens after others, as they are streamed. */
function continued(tokenizer: ModelTokenizer, before: readonly number[], ids: readonly number[], stop: string[] = []): string[] {
  const stream = createTextStream(tokenizer, stop, before)
  const texts: string[] = []
  for (const id of ids) {
    texts.push(stream.push(id))
    // what is not held back is all there is
    if (!stream.isHolding && !stream.isFinished) expect(read(tokenizer, before, ids.slice(0, texts.length))).toBe(texts.join(''))
  }
  return [...texts, stream.flush()]
}

function read(tokenizer: ModelTokenizer, before: readonly number[], ids: readonly number[]): string {
  const stream = createTextStream(tokenizer, [], before)
  return ids.map((id) => stream.push(id)).join('') + stream.flush()
}

/** Ids of tokens, some of them more often than by chance, so that they become neighbours. */
function idLists(tokenizer: ModelTokenizer, options: { minLength?: number; maxLength: number }): fc.Arbitrary<number[]> {
  const any = fc.nat(tokenizer.size - 1)
  const words = fc.integer({ min: Math.max(0, tokenizer.size - 24), max: tokenizer.size - 1 })
  return fc.array(fc.oneof(any, { weight: 3, arbitrary: words }), options)
}

/** The token of a word. */
function idOf(tokenizer: ModelTokenizer, word: string): number {
  for (let id = 0; id < tokenizer.size; id++) if (tokenizer.decode([id]).trim() === word) return id
  throw new Error(`no token for ${word}`)
}

describe.each(Object.entries(tokenizerFiles))('text after a prompt, decoded as %s does', (_family, file) => {
  const isByteRun = (tokenizer: ModelTokenizer, ids: readonly number[]) => tokenizer.isByteToken(ids.at(-1)!)
  /** Whether the text ends inside a character, or is a run of bytes that the next byte may break. */
  const isUncertain = (tokenizer: ModelTokenizer, ids: readonly number[]) =>
    ids.length > 0 && (isByteRun(tokenizer, ids) || tokenizer.decode(ids).endsWith('\ufffd'))

  test('is what the tokens add to the text of the prompt', async () => {
    const tokenizer = await createTokenizer(JSON.stringify(file))
    fc.assert(
      fc.property(idLists(tokenizer, { maxLength: 40 }), idLists(tokenizer, { maxLength: 40 }), (prompt, ids) => {
        fc.pre(!isUncertain(tokenizer, prompt))
        expect(tokenizer.decode(prompt) + continued(tokenizer, prompt, ids).join('')).toBe(tokenizer.decode([...prompt, ...ids]))
      }),
      runs(150),
    )
  })

  test('depends only on the last 16 tokens of the prompt', async () => {
    const tokenizer = await createTokenizer(JSON.stringify(file))
    fc.assert(
      fc.property(idLists(tokenizer, { minLength: 16, maxLength: 40 }), idLists(tokenizer, { maxLength: 20 }), (prompt, ids) => {
        // the spaces at its beginning are no part of what all blanks decode to
        fc.pre(!isUncertain(tokenizer, prompt) && tokenizer.decode(prompt.slice(-16)).trim() !== '')
        expect(continued(tokenizer, prompt.slice(-16), ids)).toEqual(continued(tokenizer, prompt, ids))
      }),
      runs(80),
    )
  })

  test('comes with each token as soon as it is certain', async () => {
    const tokenizer = await createTokenizer(JSON.stringify(file))
    const ids = [idOf(tokenizer, 'sea'), idOf(tokenizer, 'the'), idOf(tokenizer, 'sea')]
    const texts = continued(tokenizer, [idOf(tokenizer, 'the')], ids)
    expect(texts.map((text) => text.trim())).toEqual(['sea', 'the', 'sea', ''])
  })

  test('stops before a stop text as without a prompt', async () => {
    const tokenizer = await createTokenizer(JSON.stringify(file))
    const stop = 'ea'
    fc.assert(
      fc.property(idLists(tokenizer, { minLength: 1, maxLength: 10 }), idLists(tokenizer, { maxLength: 30 }), (prompt, ids) => {
        const whole = continued(tokenizer, prompt, ids).join('')
        const cut = continued(tokenizer, prompt, ids, [stop]).join('')
        const at = whole.indexOf(stop)
        expect(cut).toBe(at === -1 ? whole : whole.slice(0, at))
      }),
      runs(80),
    )
  })
})

describe('a prompt that ends inside a character', () => {
  test.each(['GPT-2', 'Llama 2'])('is followed by the whole character (%s)', async (family) => {
    const tokenizer = await createTokenizer(JSON.stringify(tokenizerFiles[family]))
    const bytes = tokenizer.isByteToken(1) ? (byte: number) => byte + 1 : (byte: number) => byte
    const [first, ...others] = [...new TextEncoder().encode('€')].map(bytes)
    // not of the same run of bytes, which is no text as a whole until the character ends
    const before = tokenizer.encode('s').at(-1)
    expect(continued(tokenizer, [before, first!], [...others, bytes(0x62)]).join('')).toBe('€b')
    // it was U+FFFD in the prompt's text, and nothing has come to end it
    expect(continued(tokenizer, [before, first!], [before]).join('').endsWith('s')).toBe(true)
  })
})

test('a run of bytes continues after ids that the tokenizer does not know', async () => {
  const tokenizer = await createTokenizer(JSON.stringify(tokenizerFiles['Llama 2']), 300)
  const [the, m, e1, e2, nameless] = [260, 1 + 0x6d, 1 + 0xc3, 1 + 0xa9, 299]
  for (const ids of [
    [m, nameless, 1 + 0xff, the],
    [e1, nameless, nameless, e2, the],
    [nameless, m, the, nameless],
    [e1, nameless],
  ]) {
    for (const before of [[the], [the, nameless], [the, ...Array<number>(40).fill(nameless)]]) {
      expect(tokenizer.decode(before) + continued(tokenizer, before, ids).join('')).toBe(tokenizer.decode([...before, ...ids]))
    }
  }
})

test('a run of bytes is held back until it has ended, however long, at a cost that grows with its length only', async () => {
  const tokenizer = await createTokenizer(JSON.stringify(tokenizerFiles['Llama 2']), 300)
  let decoded = 0
  const counting: ModelTokenizer = {
    size: tokenizer.size,
    encode: (text) => tokenizer.encode(text),
    encodeStream: (chunks) => tokenizer.encodeStream(chunks),
    tokenBytes: (id) => tokenizer.tokenBytes(id),
    isNamed: (id) => tokenizer.isNamed(id),
    isByteToken: (id) => tokenizer.isByteToken(id),
    decode: (ids) => {
      decoded += ids.length
      return tokenizer.decode(ids)
    },
  }
  const run = Array.from({ length: 999 }, (_, i) => 1 + [0xe2, 0x82, 0xac][i % 3]!)
  const stream = createTextStream(counting, [], [257, 260])
  expect(run.map((id) => stream.push(id)).join('')).toBe('')
  expect(stream.push(260)).toBe(`${'€'.repeat(333)} the`)
  expect(decoded).toBeLessThan(1200)
  // nor do others: bytes that are never a character, tokens without a text
  for (const ids of [run.map(() => 260), run.flatMap((_, i) => (i % 2 ? [1 + 0xff] : [260])), run.map(() => 299)]) {
    decoded = 0
    const other = createTextStream(counting, [], [257, 260])
    for (const id of ids) other.push(id)
    expect(decoded / ids.length).toBeLessThan(40)
  }
})
