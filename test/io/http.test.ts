import { getEventListeners } from 'node:events'
import { describe, expect, it, vi } from 'vitest'
import { readModelFiles } from '../../src/io/model-files.js'
import type { LoadProgress } from '../../src/io/read-options.js'
import { expectRejects } from '../support/errors.js'
import { fetchOf } from '../support/file-fetch.js'
import { expectSteady } from '../support/load-progress.js'
import { expectModel, shardedModel, singleFileModel } from '../support/model-folder.js'

vi.mock('../../src/io/sources/delay.js', () => ({ delay: async () => {} }))

const models = new URL('https://models.example/novels')

const page = () => new Response('<!DOCTYPE html><html><body>Welcome</body></html>', { headers: { 'content-type': 'text/html' } })
/** A body that comes in pieces of a few bytes, the last of which may never come. */
function inPieces(bytes: Uint8Array, size: number, isEndless = false): ReadableStream<Uint8Array> {
  let offset = 0
  return new ReadableStream({
    pull: (controller) => {
      if (offset < bytes.length) controller.enqueue(bytes.slice(offset, (offset += size)))
      else if (isEndless) return new Promise(() => {})
      else controller.close()
      return undefined
    },
  })
}

describe('a model from a URL', () => {
  it.each(['https://models.example/novels', 'https://models.example/novels/', 'https://models.example/novels/#top'])(
    'is read from the folder %s',
    async (folder) => {
      const { fetch, asked } = fetchOf(singleFileModel())
      expectModel(await readModelFiles(new URL(folder), { fetch }))
      expect(asked).toEqual(['config.json', 'tokenizer.json', 'model.safetensors'].map((name) => `https://models.example/novels/${name}`))
    },
  )

  it('is read from a host itself, and sends a query with every file', async () => {
    const { fetch, asked } = fetchOf(singleFileModel())
    expectModel(await readModelFiles(new URL('http://models.example?key=5'), { fetch }))
    expect(asked[0]).toBe('http://models.example/config.json?key=5')
  })

  it('is read in shards, with their names escaped', async () => {
    const files = shardedModel()
    files.set('a?b#c%2F.st', files.get('one.safetensors')!)
    files.set('model.safetensors.index.json', Buffer.from('{"weight_map":{"a":"a?b#c%2F.st","b":"two.safetensors"}}'))
    const { fetch, asked } = fetchOf(files)
    expectModel(await readModelFiles(models, { fetch }))
    expect(asked).toContain('https://models.example/novels/a%3Fb%23c%252F.st')
  })

  it('is read however its bodies are cut, with and without their length', async () => {
    for (const size of [1, 3, 10_000]) {
      const { fetch } = fetchOf(
        singleFileModel(),
        (_, bytes) =>
          bytes && new Response(inPieces(bytes, size), size === 3 ? { headers: { 'content-length': String(bytes.length) } } : {}),
      )
      expectModel(await readModelFiles(models, { fetch }))
    }
  })

  it('is read if more bytes come than announced: compressed bodies whose headers do not say so', async () => {
    for (const type of ['default', 'cors']) {
      const { fetch } = fetchOf(singleFileModel(), (_, bytes) => {
        const response =
          bytes && new Response(inPieces(bytes, 7), { headers: { 'content-length': String(bytes.length >> 1), etag: '"1"' } })
        return response && Object.defineProperty(response, 'type', { value: type })
      })
      const events: LoadProgress[] = []
      expectModel(await readModelFiles(models, { fetch, onProgress: (progress) => events.push(progress) }))
      expectSteady(events)
    }
  })

  it("is read by a browser's fetch, which may not be called as a method", async () => {
    const { fetch } = fetchOf(singleFileModel())
    expectModel(
      await readModelFiles(models, {
        fetch(this: unknown, ...args) {
          if (this !== undefined) throw new TypeError('Illegal invocation')
          return fetch(...args)
        },
      }),
    )
  })

  it('is complete if a body breaks after its last byte, and is not requested again', async () => {
    const { fetch, asked } = fetchOf(singleFileModel(), (_, bytes) => {
      const start = (controller: ReadableStreamDefaultController) => controller.enqueue(bytes)
      const body = new ReadableStream({ start, pull: () => Promise.reject(new Error('cable cut')) }, { highWaterMark: 0 })
      return bytes && new Response(body, { headers: { 'content-length': String(bytes.length) } })
    })
    expectModel(await readModelFiles(models, { fetch }))
    expect(asked).toHaveLength(3)
  })

  it('may lack a tokenizer', async () => {
    const files = singleFileModel()
    files.delete('tokenizer.json')
    expect((await readModelFiles(models, { fetch: fetchOf(files).fetch })).tokenizer).toBeUndefined()
  })

  it('may be on a host that responds with 403, or with a page, for files that it lacks', async () => {
    for (const absent of [() => new Response(null, { status: 403 }), page]) {
      const { fetch } = fetchOf(shardedModel(), (name) => (name === 'model.safetensors' ? absent() : undefined))
      expectModel(await readModelFiles(models, { fetch }))
    }
  })

  it('reports its progress in bytes', async () => {
    const files = shardedModel()
    const events: LoadProgress[] = []
    await readModelFiles(models, { fetch: fetchOf(files).fetch, onProgress: (progress) => events.push(progress) })
    files.delete('README.md')
    const size = [...files.values()].reduce((sum, bytes) => sum + bytes.length, 0)
    expect(events.length).toBeGreaterThanOrEqual(files.size)
    expect(events.at(-1)).toEqual({ type: 'load', done: size, total: size })
    for (const { done, total } of events) expect(done).toBeLessThanOrEqual(total)
  })
})

describe('a model from a URL is rejected', () => {
  const files = singleFileModel()
  type Change = (name: string, bytes: Uint8Array | undefined) => Response | undefined
  const failing: [string, RegExp, Change][] = [
    [
      'when the server fails',
      /\/novels\/config\.json was answered with status 500 by https:\/\/models\.example; trying again later may help/,
      () => new Response(null, { status: 500 }),
    ],
    [
      'when the server fails on the weights',
      /without model\.safetensors \(.*status 503.*index\.json \(status 404\); it was tried 6 times/,
      (name) => (name === 'model.safetensors' ? new Response(null, { status: 503 }) : undefined),
    ],
    [
      'when a body is shorter than announced',
      /only 9 bytes came, and Content-Length said 10/,
      () => new Response('{"dim":2}', { headers: { 'content-length': '10' } }),
    ],
    [
      'when a body breaks off',
      /broke after 0 bytes: cable cut/,
      () => new Response(new ReadableStream({ pull: () => Promise.reject(new Error('cable cut')) })),
    ],
  ]
  it.each(failing)('with NETWORK %s', async (_, message, change) => {
    await expectRejects(readModelFiles(models, { fetch: fetchOf(files, change).fetch }), 'NETWORK', message)
  })

  const refused: [string, RegExp, Change][] = [
    [
      'when its config is not there',
      /lacks config\.json \(status 404\)/,
      (name) => (name === 'config.json' ? new Response(null, { status: 404 }) : undefined),
    ],
    ['when a page comes for the config', /config\.json \(an HTML page was sent/, page],
    [
      'when a page comes for the tokenizer',
      /tokenizer\.json \(an HTML page was sent/,
      (name) => (name === 'tokenizer.json' ? page() : undefined),
    ],
    [
      'when a page comes for the weights',
      /model\.safetensors \(an HTML page was sent.*index\.json \(status 404/,
      (name) => (name === 'model.safetensors' ? page() : undefined),
    ],
    ['when a body is empty', /config\.json is not JSON/, () => new Response(null)],
    [
      'when the weights are shorter than their header says',
      /model\.safetensors has \d+ bytes, but its header describes/,
      (name, bytes) => (name === 'model.safetensors' ? new Response(inPieces(bytes!.subarray(0, -1), 50)) : undefined),
    ],
    [
      'when the weights are longer than their header says',
      /model\.safetensors has more than/,
      (name, bytes) => (name === 'model.safetensors' ? new Response(inPieces(Buffer.concat([bytes!, Buffer.of(1)]), 50)) : undefined),
    ],
    [
      'when the weights claim to be longer than memory',
      /model\.safetensors/,
      (name) => (name === 'model.safetensors' ? new Response(inPieces(Buffer.of(255, 255, 255, 255, 255, 255, 255, 0), 8)) : undefined),
    ],
    [
      'when a body was read already',
      /config\.json/,
      () => {
        const response = new Response('{}')
        void response.text()
        return response
      },
    ],
  ]
  it.each(refused)('%s', async (_, message, change) => {
    await expectRejects(readModelFiles(models, { fetch: fetchOf(files, change).fetch }), 'BAD_FILE', message)
  })

  it('when fetch rejects, with the cause', async () => {
    const cause = new TypeError('no network')
    const error: unknown = await readModelFiles(models, { fetch: () => Promise.reject(cause) }).catch((error: unknown) => error)
    await expectRejects(Promise.reject(error), 'NETWORK', /\/novels\/config\.json from https:\/\/models\.example: no network/)
    expect((error as Error).cause).toBe(cause)
  })

  it('as BAD_ARGUMENT when fetch returns something other than a Response', async () => {
    for (const bad of [undefined, null, 'text', {}])
      await expectRejects(readModelFiles(models, { fetch: async () => bad as never }), 'BAD_ARGUMENT', /fetch must give a Response/)
  })

  it('without revealing the query, which may contain a key', async () => {
    const error: unknown = await readModelFiles(new URL('https://models.example/novels?key=secret'), {
      fetch: () => Promise.reject(new Error('no')),
    }).catch((error: unknown) => error)
    expect((error as Error).message).not.toContain('secret')
  })

  it('without revealing a password, which is sent as a header instead', async () => {
    const url = new URL('https://anna:p%C3%A4ss%20word%@models.example/novels')
    const sent: (string | undefined)[] = []
    const { fetch, asked } = fetchOf(singleFileModel())
    expectModel(await readModelFiles(url, { fetch: (href, init) => (sent.push(init.headers?.authorization), fetch(href, init)) }))
    const basic = `Basic ${Buffer.from('anna:päss word%').toString('base64')}`
    expect(sent).toEqual([basic, basic, basic])
    expect(asked[0]).toBe('https://models.example/novels/config.json')
    const failures: Parameters<typeof readModelFiles>[] = [
      [url, { fetch: (href) => Promise.reject(new TypeError(`no way to ${href}`)) }],
      [url, { fetch: async () => new Response(null, { status: 403 }) }],
      [url, { fetch: async () => new Response(null, { status: 404 }) }],
      [url, { fetch, integrity: { other: '0'.repeat(64) } }],
      [url.href],
    ]
    for (const [source, options] of failures) {
      const error: unknown = await readModelFiles(source, options).catch((error: unknown) => error)
      expect((error as Error).message).toContain('models.example')
      expect((error as Error).message).not.toMatch(/p%C3|p\u00e4ss|word/)
    }
  })

  it('by its header, before the body arrives, if the check of its tensors fails', async () => {
    const bytes = singleFileModel().get('model.safetensors')!
    let isCancelled = false
    const endless = new ReadableStream({
      start: (controller) => controller.enqueue(bytes.slice(0, -4)),
      cancel: () => void (isCancelled = true),
    })
    const { fetch } = fetchOf(singleFileModel(), (name) => (name === 'model.safetensors' ? new Response(endless) : undefined))
    const refuse = () => {
      throw new Error('not these')
    }
    await expect(readModelFiles(models, { fetch }, { weights: refuse })).rejects.toThrow('not these')
    expect(isCancelled).toBe(true)
  })
})

describe('loading from a URL is cancelled', () => {
  it("with the signal's reason, while a fetch that ignores the signal is pending", async () => {
    const controller = new AbortController()
    const loading = readModelFiles(models, { fetch: () => new Promise(() => {}), signal: controller.signal })
    controller.abort('enough')
    await expect(loading).rejects.toBe('enough')
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
  })

  it('while a body is pending, which is cancelled as well', async () => {
    const controller = new AbortController()
    const signals: AbortSignal[] = []
    const { fetch } = fetchOf(singleFileModel(), (name, bytes) =>
      name === 'model.safetensors' ? new Response(inPieces(bytes!.subarray(0, -4), 10, true)) : undefined,
    )
    const loading = readModelFiles(models, {
      fetch: (url, init) => {
        signals.push(init.signal)
        if (url.endsWith('model.safetensors')) setTimeout(() => controller.abort('enough'), 20)
        return fetch(url, init)
      },
      signal: controller.signal,
    })
    await expect(loading).rejects.toBe('enough')
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
    expect(signals.at(-1).aborted).toBe(true)
  })

  it('at a progress event', async () => {
    const controller = new AbortController()
    const { fetch, asked } = fetchOf(singleFileModel())
    await expect(readModelFiles(models, { fetch, signal: controller.signal, onProgress: () => controller.abort('enough') })).rejects.toBe(
      'enough',
    )
    expect(asked).toEqual(['https://models.example/novels/config.json'])
  })
})
