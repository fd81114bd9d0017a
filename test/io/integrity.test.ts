import fc from 'fast-check'
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { type ModelSource, readModelFiles } from '../../src/io/model-files.js'
import { PlainSha256 } from '../../src/io/sha256.js'
import { expectRejects } from '../support/errors.js'
import { fetchOf } from '../support/file-fetch.js'
import { shardedModel, singleFileModel } from '../support/model-folder.js'
import { runs } from '../support/seed.js'

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest()
const hex = (bytes: Uint8Array) => sha256(bytes).toString('hex')
const sri = (bytes: Uint8Array) => `sha256-${sha256(bytes).toString('base64')}`
const digestsOf = (files: Map<string, Uint8Array>, format: (bytes: Uint8Array) => string) =>
  Object.fromEntries([...files].filter(([name]) => name !== 'README.md').map(([name, bytes]) => [name, format(bytes)]))

const folders: string[] = []
afterEach(() => folders.splice(0).forEach((folder) => rmSync(folder, { recursive: true })))
function folderOf(files: ReadonlyMap<string, Uint8Array>): string {
  folders.push(mkdtempSync(join(tmpdir(), 'integrity ')))
  for (const [name, bytes] of files) writeFileSync(join(folders.at(-1), name), bytes)
  return folders.at(-1)
}

const models = new URL('https://models.example/novels')
/** One bit of a file's last byte is another one: of the weights, a bit that nothing else would notice. */
function damaged(files: Map<string, Uint8Array>, name: string): Map<string, Uint8Array> {
  const bytes = new Uint8Array(files.get(name)!)
  bytes[bytes.length - 1]! ^= 1
  return new Map([...files, [name, bytes]])
}

describe.each<[string, (files: Map<string, Uint8Array>) => ModelSource]>([
  ['a Map', (files) => files],
  ['a list of files', (files) => [...files].map(([name, bytes]) => new File([bytes as Uint8Array<ArrayBuffer>], name))],
  ['a folder', folderOf],
  ['a URL', () => models],
])('with digests, a model from %s', (_, sourceOf) => {
  const read = (files: Map<string, Uint8Array>, integrity: Record<string, string>) =>
    readModelFiles(sourceOf(files), { integrity, fetch: fetchOf(files).fetch })

  it('is read if they match, in either form, for all files or some', async () => {
    for (const files of [singleFileModel(), shardedModel()]) {
      for (const format of [hex, sri, (bytes: Uint8Array) => hex(bytes).toUpperCase()]) {
        expect((await read(files, digestsOf(files, format))).config).toEqual({ dim: 2 })
        expect((await read(files, { 'config.json': format(files.get('config.json')!) })).config).toEqual({ dim: 2 })
      }
    }
  })

  it('is rejected if a bit of any file differs, naming the file and both digests', async () => {
    for (const files of [singleFileModel(), shardedModel()]) {
      for (const [name, digest] of Object.entries(digestsOf(files, hex))) {
        const other = damaged(files, name)
        await expectRejects(
          read(other, { [name]: digest }),
          'BAD_FILE',
          new RegExp(`^${name} has the SHA-256 digest ${hex(other.get(name)!)}, and ${digest} was expected`),
        )
      }
    }
    const files = damaged(singleFileModel(), 'model.safetensors')
    const { 'model.safetensors': base64 } = digestsOf(singleFileModel(), sri)
    const [expected, got] = [base64!, sri(files.get('model.safetensors')!)].map((digest) => digest.slice(7).replace(/[+]/g, '\\+'))
    await expectRejects(
      read(files, { 'model.safetensors': base64! }),
      'BAD_FILE',
      new RegExp(`digest ${got}, and ${expected} was expected`),
    )
  })

  it('is rejected if a digest is for none of its files', async () => {
    const files = singleFileModel()
    const digest = hex(new Uint8Array(0))
    for (const name of ['model.safetensor', 'README.md', 'model.safetensors.index.json'])
      await expectRejects(read(files, { [name]: digest }), 'BAD_FILE', new RegExp(`integrity names "${name}"`))
    await expectRejects(read(shardedModel(), { 'model.safetensors': digest }), 'BAD_FILE', /integrity names "model\.safetensors"/)
    files.delete('tokenizer.json')
    await expectRejects(read(files, { 'tokenizer.json': digest }), 'BAD_FILE', /lacks tokenizer\.json/)
  })
})

describe('integrity', () => {
  it('has a cached file with another digest fetched again', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'cache '))
    folders.push(folder)
    const files = singleFileModel()
    const integrity = digestsOf(files, sri)
    const { fetch, asked } = fetchOf(files)
    const kept = new Map<string, Response>()
    const cache = {
      match: async (url: string) => kept.get(url)?.clone(),
      put: async (url: string, response: Response) => void kept.set(url, response),
    }
    await readModelFiles(models, { fetch, cache, integrity })
    const key = [...kept.keys()].find((url) => url.includes('model.safetensors'))!
    kept.set(key, new Response(damaged(files, 'model.safetensors').get('model.safetensors') as Uint8Array<ArrayBuffer>))
    const { tensors } = await readModelFiles(models, { fetch, cache, integrity })
    expect([...tensors.get('b')!.bytes]).toEqual([...files.get('model.safetensors')!.subarray(-4)])
    expect(asked.slice(3)).toEqual(['https://models.example/novels/model.safetensors'])
    await readModelFiles(models, { fetch, cache, integrity })
    expect(asked).toHaveLength(4)
  })

  it('is computed identically where the runtime has no digest function', async () => {
    const { getBuiltinModule } = process
    const files = singleFileModel()
    try {
      process.getBuiltinModule = undefined as never
      await readModelFiles(files, { integrity: digestsOf(files, sri) })
      await expectRejects(readModelFiles(damaged(files, 'model.safetensors'), { integrity: digestsOf(files, sri) }), 'BAD_FILE', /digest/)
    } finally {
      process.getBuiltinModule = getBuiltinModule
    }
  })
})

describe('the SHA-256 of this package', () => {
  it('gives the digests of the standard', () => {
    const digest = (text: string) => {
      const hash = new PlainSha256()
      hash.update(new TextEncoder().encode(text))
      return Buffer.from(hash.digest()).toString('hex')
    }
    expect(digest('')).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
    expect(digest('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')
  })

  it('gives the same as Node for bytes of any length, split anywhere', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 6 }), (parts) => {
        const hash = new PlainSha256()
        for (const part of parts) hash.update(part)
        expect(Buffer.from(hash.digest()).toString('hex')).toBe(hex(Buffer.concat(parts)))
      }),
      runs(100),
    )
    for (let length = 0; length <= 200; length++) {
      const bytes = Uint8Array.from({ length }, (_, i) => i * 7)
      const hash = new PlainSha256()
      hash.update(bytes)
      expect(Buffer.from(hash.digest()).toString('hex')).toBe(hex(bytes))
    }
  })
})
