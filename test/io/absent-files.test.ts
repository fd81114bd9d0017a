/**
 * Files that a model may lack: how they are requested, what is remembered, and what is reported if a request fails.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { readModelFiles } from '../../src/io/model-files.js'
import type { CacheLike, Fetch } from '../../src/io/read-options.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { expectError, expectRejects, expectThrows } from '../support/errors.js'
import { fetchOf } from '../support/file-fetch.js'
import { expectModel, shardedModel, singleFileModel } from '../support/model-folder.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, smallModel, smallModelFiles } from '../support/small-models.js'

const pauses: number[] = []
vi.mock('../../src/io/sources/delay.js', () => ({ delay: async (milliseconds: number) => void pauses.push(milliseconds) }))
beforeEach(() => void (pauses.length = 0))

const models = new URL('https://models.example/novels')
const names = (asked: readonly string[]) => asked.map((url) => new URL(url).pathname.split('/').at(-1))

/** A host whose 404 a browser does not show: the request is as if the network had failed. */
function veiled(files: ReadonlyMap<string, Uint8Array>): { fetch: Fetch; asked: string[] } {
  const { fetch, asked } = fetchOf(files)
  return {
    asked,
    fetch: async (url, init) => {
      const response = await fetch(url, init)
      if (response.status === 404) throw new TypeError('Failed to fetch')
      return response
    },
  }
}

/** A host that answers so for one file, as often as there are answers, and well from then on. */
function answering(files: ReadonlyMap<string, Uint8Array>, name: string, ...answers: (number | 'nothing')[]) {
  return fetchOf(files, (asked) => {
    const answer = asked === name ? answers.shift() : undefined
    if (answer === 'nothing') throw new TypeError('Failed to fetch')
    return answer === undefined ? undefined : new Response(null, { status: answer })
  })
}

const offline: Fetch = () => Promise.reject(new TypeError('Failed to fetch'))

const without = (files: Map<string, Uint8Array>, name: string) => (files.delete(name), files)

describe('a host whose 404 a page cannot see', () => {
  it('gives a model in shards, and no file is requested twice', async () => {
    const { fetch, asked } = veiled(shardedModel())
    const files = await readModelFiles(models, { fetch })
    expectModel(files)
    expect(files.unavailable.size).toBe(0)
    expect(names(asked)).toEqual([
      ...['config.json', 'tokenizer.json', 'model.safetensors', 'model.safetensors.index.json'],
      ...['one.safetensors', 'two.safetensors'],
    ])
    expect(pauses).toEqual([])
  })

  it('gives a model without a tokenizer, which says so, and requests it once', async () => {
    const { fetch, asked } = veiled(without(singleFileModel(), 'tokenizer.json'))
    const { tokenizer, unavailable } = await readModelFiles(models, { fetch })
    expect(tokenizer).toBeUndefined()
    expectError(unavailable.get('tokenizer.json'), 'NETWORK', /cannot fetch \/novels\/tokenizer\.json .*the network .*CORS/)
    expect(names(asked)).toEqual(['config.json', 'tokenizer.json', 'model.safetensors'])
    expect(pauses).toEqual([])
  })

  it('is rejected with NETWORK if neither file of the weights is available, after further requests', async () => {
    const { fetch, asked } = veiled(without(singleFileModel(), 'model.safetensors'))
    await expectRejects(readModelFiles(models, { fetch }), 'NETWORK', /without model\.safetensors \(.*index\.json \(.*tried 6 times/)
    expect(names(asked).filter((name) => name === 'model.safetensors')).toHaveLength(6)
    expect(pauses).toEqual([250, 500, 1000, 2000, 4000])
  })

  it('does not prevent a file that has a digest, which implies that it exists, from being required', async () => {
    const integrity = { 'tokenizer.json': '0'.repeat(64) }
    const { fetch } = veiled(without(singleFileModel(), 'tokenizer.json'))
    await expectRejects(readModelFiles(models, { fetch, integrity }), 'NETWORK', /cannot fetch \/novels\/tokenizer\.json/)
  })
})

describe('requesting a file that may be absent', () => {
  it('is retried if the host says that it is not ready', async () => {
    const { fetch } = answering(singleFileModel(), 'tokenizer.json', 503, 429)
    expectModel(await readModelFiles(models, { fetch }))
    expect(pauses).toEqual([250, 500])
  })

  it('does not fail the load if the host fails for good, but is reported with the status', async () => {
    for (const [status, code] of [[503, 'NETWORK'], [403, 'BAD_FILE'], [401, 'BAD_FILE'], [400, 'BAD_FILE']] as const) {
      const { fetch } = fetchOf(singleFileModel(), (name) => (name === 'tokenizer.json' ? new Response(null, { status }) : undefined))
      const { tokenizer, unavailable } = await readModelFiles(models, { fetch })
      expect(tokenizer).toBeUndefined()
      expectError(unavailable.get('tokenizer.json'), code, new RegExp(`tokenizer\\.json was answered with status ${status}`))
      expect(unavailable.get('tokenizer.json')!.status).toBe(status)
    } // prettier-ignore
  })

  it('uses the other file of the weights, whatever the response for the first', async () => {
    for (const answer of [400, 403, 429, 500, 503, 'nothing'] as const) {
      const { fetch, asked } = answering(shardedModel(), 'model.safetensors', ...Array<typeof answer>(9).fill(answer))
      expectModel(await readModelFiles(models, { fetch }))
      expect(names(asked).filter((name) => name === 'model.safetensors')).toHaveLength(1)
    }
    expect(pauses).toEqual([])
  })

  it('does not mistake a broken transfer for absence', async () => {
    const cut = () => new Response(new ReadableStream({ pull: () => Promise.reject(new Error('cable cut')) }))
    const { fetch } = fetchOf(singleFileModel(), (name) => (name === 'tokenizer.json' ? cut() : undefined))
    await expectRejects(readModelFiles(models, { fetch }), 'NETWORK', /tokenizer\.json did not arrive whole/)
  })
})

describe('a failure that is not absence', () => {
  it.each([403, 401])('has the code BAD_FILE and the status %i where the file is needed', async (status) => {
    for (const name of ['config.json', 'model.safetensors']) {
      const { fetch } = fetchOf(singleFileModel(), (asked) => (asked === name ? new Response(null, { status }) : undefined))
      const error: unknown = await readModelFiles(models, { fetch }).catch((error: unknown) => error)
      expectError(error, 'BAD_FILE', new RegExp(`${name}.* was answered with status ${status}`))
      expect((error as { status: number }).status).toBe(status)
    }
  })

  it.each([408, 429, 500, 503])('has the code NETWORK and the status %i where a retry may help', async (status) => {
    for (const name of ['config.json', 'model.safetensors']) {
      const { fetch } = fetchOf(singleFileModel(), (asked) => (asked === name ? new Response(null, { status }) : undefined))
      const error: unknown = await readModelFiles(models, { fetch }).catch((error: unknown) => error)
      expectError(error, 'NETWORK', new RegExp(`${name}.* status ${status} .*trying again later may help`))
      expect((error as { status: number }).status).toBe(status)
    }
  })

  it.each([404, 410])('is unlike a missing file, which has BAD_FILE and the status %i', async (status) => {
    const { fetch } = fetchOf(singleFileModel(), (asked) => (asked === 'config.json' ? new Response(null, { status }) : undefined))
    const error: unknown = await readModelFiles(models, { fetch }).catch((error: unknown) => error)
    expectError(error, 'BAD_FILE', /lacks config\.json/)
    expect((error as { status: number }).status).toBe(status)
  })
})

const folders: string[] = []
afterEach(() => folders.splice(0).forEach((folder) => rmSync(folder, { recursive: true })))

function newFolder(): string {
  folders.push(mkdtempSync(join(tmpdir(), 'absence-')))
  return folders.at(-1)
}

function newCache(): CacheLike {
  const kept = new Map<string, Response>()
  return {
    match: async (url) => kept.get(url)?.clone(),
    put: async (url, response) => void kept.set(url, response),
    delete: async (url) => kept.delete(url),
  }
}

describe.each<[string, () => string | CacheLike]>([
  ['a folder', newFolder],
  ['a Cache', newCache],
])('with %s as a cache', (_, make) => {
  it.each<[string, () => Map<string, Uint8Array>]>([
    ['with one file of weights', singleFileModel],
    ['in shards', shardedModel],
    ['without a tokenizer', () => without(singleFileModel(), 'tokenizer.json')],
    ['in shards, without a tokenizer', () => without(shardedModel(), 'tokenizer.json')],
  ])('a model %s loads offline once it is cached', async (_, model) => {
    for (const status of [404, 410]) {
      const cache = make()
      const absent = (_: string, bytes: Uint8Array | undefined) => (bytes ? undefined : new Response(null, { status }))
      const online = await readModelFiles(models, { fetch: fetchOf(model(), absent).fetch, cache })
      const { config, tensors, tokenizer, unavailable } = await readModelFiles(models, { fetch: offline, cache })
      expect(config).toEqual(online.config)
      expect([...tensors.keys()]).toEqual([...online.tensors.keys()])
      expect(tokenizer?.length).toBe(online.tokenizer?.length)
      expect(unavailable.size).toBe(0)
    }
    expect(pauses).toEqual([])
  })

  it('an absent file is requested again online, and found once it exists', async () => {
    const cache = make()
    await readModelFiles(models, { fetch: fetchOf(without(singleFileModel(), 'tokenizer.json')).fetch, cache })
    const { fetch, asked } = fetchOf(singleFileModel())
    expectModel(await readModelFiles(models, { fetch, cache }))
    expect(names(asked)).toEqual(['tokenizer.json'])
    expectModel(await readModelFiles(models, { fetch: offline, cache }))
  })

  it('absence is also remembered while the host is not ready', async () => {
    const cache = make()
    await readModelFiles(models, { fetch: fetchOf(without(singleFileModel(), 'tokenizer.json')).fetch, cache })
    const { fetch, asked } = fetchOf(new Map(), () => new Response(null, { status: 503 }))
    expect((await readModelFiles(models, { fetch, cache })).unavailable.size).toBe(0)
    expect(names(asked)).toEqual(['tokenizer.json'])
  })

  it('a failure is not cached as absence', async () => {
    for (const answer of [403, 503, 'nothing'] as const) {
      const cache = make()
      await readModelFiles(models, { fetch: answering(singleFileModel(), 'tokenizer.json', ...Array<typeof answer>(9).fill(answer)).fetch, cache }) // prettier-ignore
      expect((await readModelFiles(models, { fetch: offline, cache })).unavailable.has('tokenizer.json')).toBe(true)
      expectModel(await readModelFiles(models, { fetch: fetchOf(singleFileModel()).fetch, cache }))
    }
  })

  it('absence is cached for one version only', async () => {
    const cache = make()
    await readModelFiles(models, { fetch: fetchOf(without(singleFileModel(), 'tokenizer.json')).fetch, cache })
    const { fetch } = answering(singleFileModel(), 'tokenizer.json', 'nothing')
    expect((await readModelFiles(models, { fetch, cache, cacheVersion: '2' })).unavailable.has('tokenizer.json')).toBe(true)
  })
})

describe('a model whose tokenizer is unavailable', () => {
  const files = () => smallModelFiles(smallModel(causalConfig))

  it.each([
    ['the network failed', 'nothing', 'NETWORK'],
    ['the host was not ready', 503, 'NETWORK'],
    ['the host forbade it', 403, 'BAD_FILE'],
    ['there is none', 404, 'UNSUPPORTED'],
  ] as const)('because %s, works on token ids, says why, and rejects text', async (_, answer, code) => {
    using runtime = openRuntime('baseline')
    const { fetch } = answering(files(), 'tokenizer.json', ...Array<typeof answer>(9).fill(answer))
    const model = await LanguageModel.load(models, { runtime, fetch })
    expect(model.hasTokenizer).toBe(false)
    expect(Object.keys(model.unavailable)).toEqual(answer === 404 ? [] : ['tokenizer.json'])
    expect((await model.forward([1, 2])).shape).toEqual([2, causalConfig.num_tokens])
    expectThrows(() => model.tokenizer.encode('text'), code, /tokenizer\.json/)
    expectThrows(() => model.tokenizer.decode([1]), code, /tokenizer\.json/)
    await expectRejects((async () => model.generate('text').next())(), code, /tokenizer\.json/)
    await expectRejects((async () => model.generate([1], { stop: 'x' }).next())(), code, /stop needs a tokenizer\.json/)
  })
})
