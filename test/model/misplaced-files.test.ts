/**
 * Files that are not what their name says, and places where no model is: each is named for what it is, with what to do.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, describe, expect, test } from 'vitest'
import { readModelFiles } from '../../src/io/model-files.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { expectRejects } from '../support/errors.js'
import { fetchOf } from '../support/file-fetch.js'
import { singleFileModel } from '../support/model-folder.js'
import { novelsFolder } from '../support/models.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, smallModel, smallModelFiles } from '../support/small-models.js'

const temporary = mkdtempSync(join(tmpdir(), 'misplaced-'))
afterAll(() => rmSync(temporary, { recursive: true }))

const pointer = Buffer.from(`version https://git-lfs.github.com/spec/v1\noid sha256:${'0123456789abcdef'.repeat(4)}\nsize 11583544\n`)
/** The first bytes of what torch.save writes, now and before. */
const zip = Buffer.concat([Buffer.from('PK\x03\x04\0\0\x08\x08'), Buffer.alloc(200)])
const pickle = Buffer.from('\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.', 'latin1')

const kinds: [string, Uint8Array, RegExp][] = [
  ['a Git LFS pointer', pointer, /is not .* but a Git LFS pointer, .*`git lfs pull`/],
  ['a .pt file', zip, /is not .* but a zip archive, as torch\.save writes \(\.pt.*safetensors\.torch\.save_file/],
  ['an older .pt file', pickle, /is not .* but a Python pickle.*safetensors\.torch\.save_file/],
  ['a gzip file', gzipSync(zip), /is not .* but compressed with gzip/],
  ['a GGUF file', Buffer.from('GGUF\x03\0\0\0\x13\0\0\0'), /is not .* but a GGUF file/],
  ['an HDF5 file', Buffer.from('\x89HDF\r\n\x1a\n\0\0', 'latin1'), /is not .* but an HDF5 file/],
  ['a web page', Buffer.from('<!DOCTYPE html><title>Sign in</title>'), /is not .* but a web page/],
]

describe.each(kinds)('%s', (_, bytes, message) => {
  test.each(['model.safetensors', 'config.json', 'tokenizer.json', 'model.safetensors.index.json'])(
    'in place of %s is named',
    async (name) => {
      const files = smallModelFiles(smallModel(causalConfig))
      if (name.endsWith('index.json')) files.delete('model.safetensors')
      files.set(name, bytes)
      await expectRejects(LanguageModel.load(files), 'BAD_FILE', new RegExp(`^${name} ${message.source}`))
      const folder = mkdtempSync(join(temporary, 'model-'))
      for (const [file, content] of files) writeFileSync(join(folder, file), content)
      await expectRejects(LanguageModel.load(folder), 'BAD_FILE', message)
      if (bytes.at(0) === '<'.charCodeAt(0)) return // over http(s) a page is recognized earlier
      await expectRejects(LanguageModel.load(new URL('https://models.example'), { fetch: fetchOf(files).fetch }), 'BAD_FILE', message)
    },
  )
})

test('a file that merely begins like another is read', async () => {
  // A header whose length is written as the two letters that a zip archive begins with.
  const header = `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`.padEnd(0x4b50)
  const bytes = Buffer.concat([Buffer.from('PK\0\0\0\0\0\0'), Buffer.from(header), Buffer.of(7)])
  const { tensors } = await readModelFiles(singleFileModel().set('model.safetensors', bytes))
  expect([...tensors.get('a')!.bytes]).toEqual([7])
})

test('folders and hosts without a model are reported as such', async () => {
  await expectRejects(readModelFiles('/no/such/folder'), 'BAD_FILE', /lacks config\.json \(there is no such folder\)/)
  await expectRejects(readModelFiles('no-such-folder'), 'BAD_FILE', /lacks config\.json \(there is no such folder in /)
  await expectRejects(readModelFiles('package.json'), 'BAD_FILE', /package\.json is a file: pass the folder/)
  await expectRejects(readModelFiles('src'), 'BAD_FILE', /lacks config\.json \(no such file\)/)
  const keys = new Map([...singleFileModel()].map(([name, bytes]) => [`novels/${name}`, bytes]))
  await expectRejects(readModelFiles(keys), 'BAD_FILE', /lacks config\.json \(no such key among "novels\/config\.json", /)
  await expectRejects(readModelFiles(new Map()), 'BAD_FILE', /no such key; it is empty/)
  const many = Array.from({ length: 9 }, (_, i) => new File(['{}'], `${i}.bin`))
  await expectRejects(readModelFiles(many), 'BAD_FILE', /no such file among "0\.bin", .*"4\.bin" and 4 more/)
})

describe("a tokenizer larger than the model's vocabulary", () => {
  const json = readFileSync(new URL('tokenizer.json', novelsFolder), 'utf8')
  const files = (numTokens: number, tokenizer = json) =>
    smallModelFiles(smallModel({ ...causalConfig, num_tokens: numTokens })).set('tokenizer.json', Buffer.from(tokenizer))

  test('is named, with both numbers', async () => {
    await expectRejects(
      LanguageModel.load(files(300)),
      'BAD_FILE',
      /^tokenizer\.json has 4096 tokens, but the model has 300 \(num_tokens .* belongs to another model/,
    )
  })

  test('is allowed if only by added tokens, which no model was trained with', async () => {
    const parsed = JSON.parse(json) as { added_tokens: object[] }
    parsed.added_tokens.push({
      id: 4096,
      content: '[PAD]',
      special: true,
      normalized: false,
      single_word: false,
      lstrip: false,
      rstrip: false,
    })
    using runtime = openRuntime('baseline')
    const model = await LanguageModel.load(files(4096, JSON.stringify(parsed)), { runtime })
    expect(model.hasTokenizer).toBe(true)
    expect(model.tokenizer.encode('[PAD]')).toEqual([4096])
    await expectRejects((async () => model.generate('[PAD]').next())(), 'BAD_ARGUMENT', /4096/)
  })
})
