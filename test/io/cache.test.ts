import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import files from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { readModelFiles } from '../../src/io/model-files.js'
import { parseJson } from '../../src/io/json.js'
import type { CacheLike } from '../../src/io/read-options.js'
import { expectRejects } from '../support/errors.js'
import { fetchOf } from '../support/file-fetch.js'
import { expectModel, shardedModel, singleFileModel } from '../support/model-folder.js'
import { writeSafetensors } from '../support/write-safetensors.js'

const models = new URL('https://models.example/novels?key=5')

const folders: string[] = []
afterEach(() => {
  folders.splice(0).forEach((folder) => rmSync(folder, { recursive: true }))
  vi.restoreAllMocks()
  vi.unstubAllGlobals()
})

function newFolder(): string {
  folders.push(mkdtempSync(join(tmpdir(), 'cache ')))
  return folders.at(-1)
}

/** A Cache in memory. */
function newCache(): CacheLike & { kept: Map<string, Response> } {
  const kept = new Map<string, Response>()
  return {
    kept,
    match: async (url) => kept.get(url)?.clone(),
    put: async (url, response) => void kept.set(url, response),
    delete: async (url) => kept.delete(url),
  }
}

const nameOf = (url: string) => new URL(url).pathname.split('/').at(-1)
const names = (asked: readonly string[]) => asked.map(nameOf)
/** A tokenizer that proves right if it is JSON, as a real one does. */
const parsers = {
  tokenizer: (bytes: Uint8Array) => {
    parseJson(bytes, 'tokenizer.json')
    return bytes
  },
}

/** Entries of a folder by what is in them. */
function entriesOf(folder: string): { path: string; bytes: Buffer }[] {
  return readdirSync(folder).map((name) => ({ path: join(folder, name), bytes: readFileSync(join(folder, name)) }))
}

describe.each<[string, () => string | CacheLike]>([
  ['a folder', newFolder],
  ['a folder that is not there yet', () => join(newFolder(), 'a', 'b')],
  ['a Cache', newCache],
])('%s as a cache', (_, make) => {
  it('is read first once it has the files', async () => {
    for (const model of [singleFileModel(), shardedModel()]) {
      const cache = make()
      const { fetch, asked } = fetchOf(model)
      expectModel(await readModelFiles(models, { fetch, cache }))
      const before = asked.length
      expectModel(await readModelFiles(models, { fetch, cache }))
      // what is not there is requested again
      expect(names(asked.slice(before))).toEqual(model.has('model.safetensors') ? [] : ['model.safetensors'])
    }
  })

  it('reports the progress of reading from it', async () => {
    const cache = make()
    const model = singleFileModel()
    const { fetch } = fetchOf(model)
    await readModelFiles(models, { fetch, cache })
    model.delete('README.md')
    const size = [...model.values()].reduce((sum, { length }) => sum + length, 0)
    const onProgress = vi.fn()
    await readModelFiles(models, { fetch, cache, onProgress })
    expect(onProgress).toHaveBeenLastCalledWith({ type: 'load', done: size, total: size })
  })

  it('distinguishes files by URL, version and digest', async () => {
    const cache = make()
    const { fetch, asked } = fetchOf(singleFileModel())
    const digest = 'sha256-eXB4PL9a7zcLZOvfpIbgeiITvmUUmzbFVBa6eDVSqj8='
    const variants = [
      { source: models },
      { source: new URL('https://models.example/novels?key=6') },
      { source: new URL('https://models.example/other') },
      { source: models, cacheVersion: '2' },
      { source: models, cacheVersion: '2 ' },
    ]
    for (const { source, ...options } of [...variants, ...variants]) expectModel(await readModelFiles(source, { fetch, cache, ...options }))
    expect(asked).toHaveLength(3 * variants.length)
    // Only the file that the digest is for is another one.
    await readModelFiles(models, { fetch, cache, integrity: { 'config.json': digest } }).catch(() => undefined)
    expect(names(asked.slice(3 * variants.length))).toEqual(['config.json'])
  })

  it('may be filled by several loads at once', async () => {
    const cache = make()
    const { fetch, asked } = fetchOf(shardedModel())
    const loads = Array.from({ length: 8 }, () => readModelFiles(models, { fetch, cache }))
    for (const loaded of await Promise.all(loads)) expectModel(loaded)
    const before = asked.length
    expectModel(await readModelFiles(models, { fetch, cache }))
    expect(names(asked.slice(before))).toEqual(['model.safetensors'])
  })

  it('keeps no file that failed a check', async () => {
    const cache = make()
    const broken = new Map([...singleFileModel(), ['model.safetensors', writeSafetensors({}).subarray(1)]])
    await expectRejects(readModelFiles(models, { fetch: fetchOf(broken).fetch, cache }), 'BAD_FILE')
    const refuse = () => {
      throw new Error('refused')
    }
    for (const check of ['config', 'tokenizer', 'weights'])
      await expect(readModelFiles(new URL(`https://${check}.example`), { fetch: fetchOf(singleFileModel()).fetch, cache }, { [check]: refuse })).rejects.toThrow('refused') // prettier-ignore
    const { fetch, asked } = fetchOf(singleFileModel())
    expectModel(await readModelFiles(models, { fetch, cache }))
    for (const check of ['config', 'tokenizer', 'weights']) expectModel(await readModelFiles(new URL(`https://${check}.example`), { fetch, cache })) // prettier-ignore
    expect(names(asked)).toEqual([
      'model.safetensors',
      ...['config.json', 'tokenizer.json', 'model.safetensors'],
      ...['tokenizer.json', 'model.safetensors'],
      'model.safetensors',
    ])
  })
})

describe('a damaged entry is dropped and fetched again', () => {
  const damages: [string, (bytes: Buffer) => Buffer][] = [
    ['cut short', (bytes) => bytes.subarray(0, 7)],
    ['cut short by a byte', (bytes) => bytes.subarray(0, -1)],
    ['emptied', () => Buffer.alloc(0)],
    ['longer', (bytes) => Buffer.concat([bytes, Buffer.of(32)])],
    ['overwritten', (bytes) => Buffer.alloc(bytes.length)],
  ]

  it.each(damages)('of a folder, when it is %s', async (_, damage) => {
    const folder = newFolder()
    const { fetch, asked } = fetchOf(singleFileModel())
    await readModelFiles(models, { fetch, cache: folder }, parsers)
    for (const { path, bytes } of entriesOf(folder)) writeFileSync(path, damage(bytes))
    expectModel(await readModelFiles(models, { fetch, cache: folder }, parsers))
    expect(names(asked.slice(3))).toEqual(['config.json', 'tokenizer.json', 'model.safetensors'])
    expectModel(await readModelFiles(models, { fetch, cache: folder }, parsers))
    expect(asked).toHaveLength(6)
  })

  it.each(damages)('of a Cache, when it is %s', async (_, damage) => {
    const cache = newCache()
    const { fetch, asked } = fetchOf(singleFileModel())
    await readModelFiles(models, { fetch, cache }, parsers)
    const dropped: string[] = []
    for (const [url, response] of cache.kept) {
      const { headers } = response
      cache.kept.set(url, new Response(new Uint8Array(damage(Buffer.from(await response.arrayBuffer()))), { headers }))
    }
    cache.delete = async (url) => (dropped.push(nameOf(url)), cache.kept.delete(url))
    expectModel(await readModelFiles(models, { fetch, cache }, parsers))
    expect(names(asked.slice(3))).toEqual(['config.json', 'tokenizer.json', 'model.safetensors'])
    expect(dropped).toEqual(['config.json', 'tokenizer.json', 'model.safetensors'])
  })

  it('even if it cannot be fetched: then it is gone', async () => {
    const folder = newFolder()
    await readModelFiles(models, { fetch: fetchOf(singleFileModel()).fetch, cache: folder })
    const config = entriesOf(folder).find(({ bytes }) => bytes.includes('dim'))!
    writeFileSync(config.path, config.bytes.fill(32, 0, 5))
    const offline = () => Promise.reject(new Error('offline'))
    await expectRejects(readModelFiles(models, { fetch: offline, cache: folder }), 'NETWORK', /config\.json .*offline/)
    expect(entriesOf(folder).map(({ path }) => path)).not.toContain(config.path)
  })
})

describe('a cache that does not work is ignored', () => {
  const fails = (name: string) => () => Promise.reject(new DOMException('no', name))
  it.each<[string, () => boolean | string | CacheLike]>([
    ['a full Cache', () => ({ ...newCache(), put: fails('QuotaExceededError') })],
    ['a forbidden Cache', () => ({ match: fails('SecurityError'), put: fails('SecurityError') })],
    ['a Cache that throws', () => ({ match: () => { throw new TypeError('no') }, put: () => { throw new TypeError('no') } })], // prettier-ignore
    ['a Cache that gives something else', () => ({ match: async () => 5 as never, put: async () => {} })],
    ['a Cache that gives a body that breaks', () => ({ match: async () => new Response(new ReadableStream({ pull: fails('NetworkError') })), put: async () => {} })], // prettier-ignore
    ['a folder in a file', () => 'package.json/cache'],
    ['a runtime without the Cache API', () => true],
  ])('%s', async (_, make) => {
    const { fetch, asked } = fetchOf(singleFileModel())
    const cache = make()
    for (let i = 1; i <= 2; i++) {
      expectModel(await readModelFiles(models, { fetch, cache }))
      expect(asked).toHaveLength(3 * i)
    }
  })

  it('in a page that may not access one', async () => {
    const { fetch, asked } = fetchOf(singleFileModel())
    const forbidden = vi.fn(() => {
      throw new DOMException('The operation is insecure', 'SecurityError')
    })
    Object.defineProperty(globalThis, 'caches', { configurable: true, get: forbidden })
    try {
      expectModel(await readModelFiles(models, { fetch, cache: true }))
    } finally {
      Reflect.deleteProperty(globalThis, 'caches')
    }
    expect(forbidden).toHaveBeenCalled()
    expect(asked).toHaveLength(3)
  })

  it('a folder that cannot be created', async () => {
    vi.spyOn(files, 'mkdir').mockRejectedValue(Object.assign(new Error('permission denied'), { code: 'EACCES' }))
    const { fetch, asked } = fetchOf(singleFileModel())
    for (let i = 1; i <= 2; i++) {
      expectModel(await readModelFiles(models, { fetch, cache: join(newFolder(), 'forbidden') }))
      expect(asked).toHaveLength(3 * i)
    }
  })

  it('on a full disk, where no part of an entry remains', async () => {
    const folder = newFolder()
    const { open } = files
    vi.spyOn(files, 'open').mockImplementation(async (...args) => {
      const handle = await open(...args)
      const { write } = handle
      let written = 0
      handle.write = (async (...what: Parameters<typeof write>) => {
        if (written > 0) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
        const result = await write.apply(handle, what)
        written += result.bytesWritten
        return result
      }) as typeof write
      return handle
    })
    const { fetch, asked } = fetchOf(singleFileModel())
    for (let i = 1; i <= 2; i++) {
      expectModel(await readModelFiles(models, { fetch, cache: folder }))
      expect(asked).toHaveLength(3 * i)
    }
    expect(readdirSync(folder)).toEqual([])
  })
})

describe('the Cache API of the runtime', () => {
  it('is used with true, under the name of this package', async () => {
    const cache = newCache()
    const opened: string[] = []
    vi.stubGlobal('caches', { open: async (name: string) => (opened.push(name), cache) })
    const { fetch, asked } = fetchOf(singleFileModel())
    for (let i = 0; i < 2; i++) expectModel(await readModelFiles(models, { fetch, cache: true }))
    expect(asked).toHaveLength(3)
    expect(new Set(opened)).toEqual(new Set(['routed-attention']))
    expect([...cache.kept.keys()].every((url) => url.startsWith('https://models.example/novels/') && !url.includes('#'))).toBe(true)
  })
})

describe('a cache', () => {
  it('is off by default', async () => {
    vi.stubGlobal('caches', { open: () => expect.fail('a cache was opened') })
    const { fetch, asked } = fetchOf(singleFileModel())
    for (const cache of [undefined, false]) expectModel(await readModelFiles(models, { fetch, cache }))
    expect(asked).toHaveLength(6)
  })

  it('that never settles can still be cancelled', async () => {
    const never = () => new Promise<never>(() => {})
    for (const cache of [
      { match: never, put: never },
      { match: async () => undefined, put: never },
    ]) {
      const controller = new AbortController()
      const loading = readModelFiles(models, { fetch: fetchOf(singleFileModel()).fetch, cache, signal: controller.signal })
      setTimeout(() => controller.abort('enough'), 5)
      await expect(loading).rejects.toBe('enough')
    }
  })

  it('in a folder keeps nothing of a load that is cancelled while an entry is written', async () => {
    const folder = newFolder()
    const controller = new AbortController()
    const { open } = files
    vi.spyOn(files, 'open').mockImplementation((...args) => {
      if (args[1] === 'wx') controller.abort('enough')
      return open(...args)
    })
    const { fetch } = fetchOf(singleFileModel())
    await expect(readModelFiles(models, { fetch, cache: folder, signal: controller.signal })).rejects.toBe('enough')
    expect(readdirSync(folder)).toEqual([])
  })

  it('in a folder is cleared of files that killed processes left, a day later', async () => {
    const folder = newFolder()
    const old = join(folder, 'old.part')
    for (const path of [old, join(folder, 'new.part'), join(folder, 'other')]) writeFileSync(path, '')
    mkdirSync(join(folder, 'unrelated'))
    for (const path of [old, join(folder, 'other')]) utimesSync(path, 0, 0)
    await readModelFiles(models, { fetch: fetchOf(singleFileModel()).fetch, cache: folder })
    expect(readdirSync(folder)).not.toContain('old.part')
    expect(readdirSync(folder)).toEqual(expect.arrayContaining(['new.part', 'other', 'unrelated']))
  })
})
