import { Tokenizer as Oracle } from 'tokenizers'
import { describe, expect, it } from 'vitest'
import { createTokenizer, type Tokenizer } from '../../src/io/tokenizer.js'
import { oddTexts } from '../support/odd-texts.js'
import { tokenizerFiles } from '../support/oracle-files.js'

/*
 * Encoding and decoding are Hugging Face's: ids are held against its own library (Rust, version 0.23), for every kind
 * of component and odd Unicode. Where that library drops what a vocabulary cannot express, this one says so.
 */

/** What both say of a text: ids, or that it cannot be. */
async function answers(oracle: Oracle, ours: Tokenizer, text: string): Promise<{ theirs: number[] | string; own: number[] | string }> {
  let own: number[] | string
  try {
    own = ours.encode(text)
  } catch (error) {
    own = (error as { code: string }).code
  }
  if (text === '') return { theirs: [], own }
  let theirs: number[] | string
  try {
    theirs = (await oracle.encode(text, null, { addSpecialTokens: false })).getIds()
  } catch {
    theirs = 'BAD_ARGUMENT'
  }
  return { theirs, own }
}

async function streamed(tokenizer: Tokenizer, text: string, size: number): Promise<number[]> {
  const chunks: string[] = []
  for (let start = 0; start < text.length; start += size) chunks.push(text.slice(start, start + size))
  const ids: number[] = []
  for await (const part of tokenizer.encodeStream(chunks)) ids.push(...part)
  return ids
}

describe('ids and texts are those of Hugging Face', () => {
  it.each(tokenizerFiles())('%s', async (name, file) => {
    const json = JSON.stringify(file)
    const oracle = Oracle.fromString(json)
    const ours = await createTokenizer(json)
    const { splits } = { splits: canStream(ours) }
    const texts = oddTexts(name === 'novels-10m' ? 30_000 : 400, 7)
    for (const [index, text] of texts.entries()) {
      const { theirs, own } = await answers(oracle, ours, text)
      // A vocabulary without a token for the unknown: the library leaves it out.
      if (own !== 'BAD_ARGUMENT') expect(own, JSON.stringify(text)).toEqual(theirs)
      if (typeof own === 'string' || own.length === 0) continue
      if (index < 400) expect(ours.decode(own), JSON.stringify(text)).toBe(await oracle.decode(own, false))
      if (splits && index < 400) expect(await streamed(ours, text, 1 + (index % 4)), JSON.stringify(text)).toEqual(own)
    }
    if (splits) {
      const whole = texts
        .slice(0, 400)
        .filter((text) => typeof text === 'string')
        .join('')
      const { own } = await answers(oracle, ours, whole)
      if (typeof own !== 'string') expect(await streamed(ours, whole, 37)).toEqual(own)
    }
  })
})

function canStream(tokenizer: Tokenizer): boolean {
  try {
    tokenizer.encodeStream([])
    return true
  } catch {
    return false
  }
}
