/** Long prompts on the command line. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { encodePrompt } from '../../src/cli/prompt-encoding.js'
import { StatusLine } from '../../src/cli/status-line.js'
import { RoutedAttentionError } from '../../src/index.js'
import { createTokenizer } from '../../src/io/tokenizer.js'
import { novelsFolder } from '../support/models.js'

const tokenizer = await createTokenizer(readFileSync(new URL('tokenizer.json', novelsFolder)))
const book = readFileSync(new URL('treasure-island.txt', novelsFolder), 'utf8')

/** A status line that shows everything at once. */
function loudStatus() {
  const written: string[] = []
  let now = 0
  return { written, status: new StatusLine({ isTTY: true, write: (text) => written.push(text) }, () => (now += 1000)) }
}

describe('a long prompt', () => {
  test('has the same tokens as if encoded at once, and reports its progress', async () => {
    const { status, written } = loudStatus()
    const text = `${'😀'.repeat(40_000)}${book}<|endoftext|>`
    const { signal } = new AbortController()
    expect(await encodePrompt({ tokenizer }, text, true, { status, signal })).toEqual(tokenizer.encode(text))
    const shares = written.map((line) => /encoding the prompt: (\d+) %/.exec(line)?.[1])
    expect(shares.length).toBeGreaterThan(5)
    expect(shares.at(-1)).toBeUndefined() // it is taken away
    const plain = await encodePrompt({ tokenizer }, text, false, { status, signal })
    expect(plain).toEqual(tokenizer.encode(text, { allowSpecial: false }))
    expect(plain).not.toContain(0)
  })

  test('can be interrupted by Ctrl-C', async () => {
    const { status } = loudStatus()
    const abort = new AbortController()
    const encoding = encodePrompt({ tokenizer }, book, true, { status, signal: abort.signal })
    const reason = new Error('Ctrl-C')
    abort.abort(reason)
    await expect(encoding).rejects.toBe(reason)
  })

  test.each(['UNSUPPORTED', 'BAD_ARGUMENT'] as const)('is encoded at once if it cannot be split (%s)', async (code) => {
    const { status } = loudStatus()
    const refuse = () => {
      throw new RoutedAttentionError(code, 'no place to cut')
    }
    const whole = { encode: (text: string) => [text.length], decode: () => '', encodeStream: refuse }
    const { signal } = new AbortController()
    expect(await encodePrompt({ tokenizer: whole }, book, true, { status, signal })).toEqual([book.length])
  })
})
