/** `routed-attention tokenize`: texts and pairs to token ids, for training. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { createTokenizer } from '../../src/io/tokenizer.js'
import { runCommand as run, runForBytes } from '../support/command.js'
import { novelsFolder } from '../support/models.js'

const novels = fileURLToPath(novelsFolder).replace(/[/\\]$/, '')
const folder = mkdtempSync(join(tmpdir(), 'routed-attention-tokenize-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const text = readFileSync(join(novels, 'treasure-island.txt'), 'utf8').slice(0, 200_000)
const tokenizer = await createTokenizer(readFileSync(join(novels, 'tokenizer.json')))

function file(name: string, content: string | Uint8Array): string {
  writeFileSync(join(folder, name), content)
  return join(folder, name)
}

function wideTokenizer(size: number): string {
  const vocab = Object.fromEntries(Array.from({ length: size }, (_, id) => [id === size - 1 ? 'last' : `w${id}`, id]))
  return JSON.stringify({ model: { type: 'WordLevel', vocab, unk_token: 'w0' }, pre_tokenizer: { type: 'WhitespaceSplit' } })
}

test('writes the ids of texts as little-endian 16-bit numbers, one text after the other', async () => {
  const { code, bytes, stderr } = await runForBytes(['tokenize', novels, file('a.txt', text), file('b.txt', ' end')])
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  const ids = [...tokenizer.encode(text), ...tokenizer.encode(' end')]
  expect(bytes.length).toBe(2 * ids.length)
  expect(ids.every((id, i) => bytes.readUInt16LE(2 * i) === id)).toBe(true)
})

test('reads standard input, and treats special tokens as text on request', async () => {
  const special = 'a<|endoftext|>'
  for (const plain of [false, true]) {
    const { bytes } = await runForBytes(['tokenize', novels, '-', ...(plain ? ['--plain'] : [])], special)
    const ids = Array.from({ length: bytes.length / 2 }, (_, i) => bytes.readUInt16LE(2 * i))
    expect(ids).toEqual(tokenizer.encode(special, { allowSpecial: !plain }))
  }
})

test('writes 32-bit numbers for more than 65,536 tokens', async () => {
  const place = mkdtempSync(join(folder, 'wide-'))
  writeFileSync(join(place, 'tokenizer.json'), wideTokenizer(65_537))
  const { bytes } = await runForBytes(['tokenize', place, '-'], 'w1 last')
  expect([bytes.readUInt32LE(0), bytes.readUInt32LE(4), bytes.length]).toEqual([1, 65_536, 8])
})

test('writes pairs as pairs of ids', async () => {
  const { stdout } = await run(['tokenize', novels, file('pairs.jsonl', '{"prompt": "Ahoy", "completion": " there"}\n\n')])
  expect(JSON.parse(stdout)).toEqual({ prompt: tokenizer.encode('Ahoy'), completion: tokenizer.encode(' there') })
})

test('says what is wrong', async () => {
  const plain = file('c.txt', 'text')
  for (const args of [[], [novels], [novels, plain, file('d.jsonl', '')]]) expect((await run(['tokenize', ...args])).code).toBe(2)
  const latin = await run(['tokenize', novels, file('latin.txt', Uint8Array.of(0xe9, 0x20))])
  expect([latin.code, latin.stderr]).toEqual([1, expect.stringMatching(/not UTF-8.*BAD_FILE/)])
  const missing = await run(['tokenize', folder, plain])
  expect([missing.code, missing.stderr]).toEqual([1, expect.stringMatching(/tokenizer\.json.*BAD_FILE/)])
  const broken = await run(['tokenize', novels, file('e.jsonl', '{"prompt": "a", "completion": "b"}\n{"prompt": 1}')])
  expect([broken.code, broken.stderr]).toEqual([1, expect.stringMatching(/line 2/)])
})
