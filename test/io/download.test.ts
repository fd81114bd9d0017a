import fc from 'fast-check'
import { getEventListeners } from 'node:events'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { type ModelFiles, readModelFiles, type ReadOptions } from '../../src/io/model-files.js'
import type { Fetch, LoadProgress } from '../../src/io/read-options.js'
import { delay } from '../../src/io/sources/delay.js'
import { expectRejects } from '../support/errors.js'
import { eventually } from '../support/eventually.js'
import { singleFileModel } from '../support/model-folder.js'
import { asPage } from '../support/page-fetch.js'
import { type Behaviour, ModelServer } from '../support/model-server.js'
import { writeSafetensors } from '../support/write-safetensors.js'
import { runs } from '../support/seed.js'

const WEIGHTS = 'model.safetensors'

/** A model whose weights are not all alike, so that a byte in the wrong place shows. */
function model(seed = 1, length = 5000): Map<string, Uint8Array> {
  const bytes = Uint8Array.from({ length }, (_, i) => (i * i * seed + (i >> 8)) & 255)
  return new Map([...singleFileModel(), [WEIGHTS, writeSafetensors({ weight: { dtype: 'U8', shape: [length], bytes } })]])
}

let server: ModelServer
beforeAll(async () => void (server = await ModelServer.start()))
afterAll(() => server.stop())

/** The pauses that were made, which are no longer than a turn here, or do not end. */
const pauses: number[] = []
let isPauseEndless = false
vi.mock(import('../../src/io/sources/delay.js'), async (importOriginal) => {
  const { delay } = await importOriginal()
  return {
    delay: (milliseconds, signal) => {
      pauses.push(milliseconds)
      return delay(isPauseEndless ? 2 ** 30 : 0, signal)
    },
  }
})
beforeEach(() => {
  server.reset(model())
  pauses.length = 0
  isPauseEndless = false
})

/**
 * The weights are answered so, one request after the other, and well from then on; the last stays if there is nothing
 * else.
 */
function misbehave(...behaviours: Behaviour[]): void {
  server.behave = (name, before) => (name === WEIGHTS && behaviours[before]) || {}
}
function misbehaveAlways(behaviour: Behaviour): void {
  server.behave = (name) => (name === WEIGHTS ? behaviour : {})
}

const load = (options?: ReadOptions) => readModelFiles(server.folder, options)

function expectFiles({ config, tensors, tokenizer }: ModelFiles, files = server.files): void {
  expect(config).toEqual({ dim: 2 })
  expect(Buffer.from(tokenizer!)).toEqual(Buffer.from(files.get('tokenizer.json')!))
  const weight = tensors.get('weight')!.bytes
  expect(Buffer.compare(weight, files.get(WEIGHTS)!.subarray(-weight.length))).toBe(0)
  expect(weight).toHaveLength(5000)
}

const size = (files = server.files) => ['config.json', 'tokenizer.json', WEIGHTS].reduce((sum, name) => sum + files.get(name)!.length, 0)

describe('a download over a connection that drops', () => {
  it('is resumed where it broke, for the same version of the file', async () => {
    misbehave({ drop: 3000 })
    const events: LoadProgress[] = []
    expectFiles(await load({ onProgress: (progress) => events.push(progress) }))
    expect(server.asked.slice(2)).toEqual([
      { name: WEIGHTS, range: undefined, ifRange: undefined },
      { name: WEIGHTS, range: 'bytes=3000-', ifRange: '"v1"' },
    ])
    expect(events.at(-1)).toEqual({ type: 'load', done: size(), total: size() })
    for (const [i, { done, total }] of events.entries()) {
      expect(done).toBeLessThanOrEqual(total)
      expect(done).toBeGreaterThanOrEqual(events[i - 1]?.done ?? 0)
    }
  })

  it('gives the same bytes as an undisturbed one, for any drops and servers', async () => {
    const validators: Behaviour[] = [{}, { etag: null, lastModified: new Date(0) }, { etag: 'W/"v1"' }, { etag: null }]
    const drop = fc.oneof(fc.constant('at once' as const), fc.integer({ min: 0, max: 5200 }))
    const draw = fc.record({
      drops: fc.array(drop, { maxLength: 5 }),
      configDrops: fc.array(fc.integer({ min: 0, max: 9 }), { maxLength: 5 }),
      validator: fc.constantFrom(...validators),
      ranges: fc.boolean(),
      chunked: fc.boolean(),
      gzip: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(draw, async ({ drops, configDrops, validator, ...rest }) => {
        server.reset(model())
        server.behave = (name, before) => {
          const drop = name === WEIGHTS ? drops[before] : name === 'config.json' ? configDrops[before] : undefined
          return { ...validator, ...rest, ...(drop !== undefined && { drop }) }
        }
        expectFiles(await load())
      }),
      runs(40),
    )
  })

  it('is resumed by its Last-Modified, if that is long past', async () => {
    const lastModified = new Date(Date.now() - 3_600_000)
    misbehave({ drop: 3000, etag: null, lastModified }, { etag: null, lastModified })
    expectFiles(await load())
    expect(server.asked.at(-1)).toEqual({ name: WEIGHTS, range: 'bytes=3000-', ifRange: lastModified.toUTCString() })
  })

  it.each<[string, () => Behaviour]>([
    ['a weak ETag', () => ({ etag: 'W/"v1"' })],
    ['a weak ETag beside a Last-Modified', () => ({ etag: 'W/"v1"', lastModified: new Date(0) })],
    ['a Last-Modified of just now', () => ({ etag: null, lastModified: new Date() })],
    ['an ETag that is none', () => ({ etag: 'v1' })],
    ['nothing to tell its state by', () => ({ etag: null })],
  ])('begins again with %s', async (_, behave) => {
    const behaviour = behave()
    misbehave({ ...behaviour, drop: 3000 }, behaviour)
    expectFiles(await load())
    expect(server.rangesOf(WEIGHTS)).toEqual([undefined, undefined])
  })

  it('begins again, as does its progress, if the server does not support ranges', async () => {
    misbehave({ drop: 3000 }, { ranges: false })
    const events: LoadProgress[] = []
    expectFiles(await load({ onProgress: (progress) => events.push(progress) }))
    expect(server.rangesOf(WEIGHTS)).toEqual([undefined, 'bytes=3000-'])
    expect(events.at(-1)).toEqual({ type: 'load', done: size(), total: size() })
    for (const { done, total } of events) expect(done).toBeLessThanOrEqual(total)
  })

  it('is complete if it drops after the last byte, with or without a known length', async () => {
    const { length } = server.files.get(WEIGHTS)!
    misbehave({ drop: length })
    expectFiles(await load())
    expect(server.rangesOf(WEIGHTS)).toEqual([undefined])
    server.reset(model())
    misbehave({ drop: length, chunked: true })
    expectFiles(await load())
    expect(server.rangesOf(WEIGHTS)).toEqual([undefined, `bytes=${length}-`])
  })

  it('is given up after six failures without progress, with growing pauses between them', async () => {
    misbehave({ drop: 3000 }, ...Array<Behaviour>(9).fill({ drop: 0 }))
    await expectRejects(load(), 'NETWORK', /\/model\.safetensors did not arrive whole: .* broke after 3000 bytes: .*tried 6 times/)
    expect(pauses).toEqual([250, 500, 1000, 2000, 4000])
    expect(server.rangesOf(WEIGHTS)).toEqual([undefined, ...Array<string>(5).fill('bytes=3000-')])
  })

  it('is not given up while it makes progress', async () => {
    misbehave(...Array<Behaviour>(30).fill({ drop: 100 }))
    expectFiles(await load())
    expect(pauses).toEqual(Array(30).fill(250))
  })

  it('is given up after six failures where the server cannot resume, each at the same place', async () => {
    misbehaveAlways({ drop: 3000, ranges: false })
    await expectRejects(load(), 'NETWORK', /\/model\.safetensors did not arrive whole.*tried 6 times/)
    expect(server.rangesOf(WEIGHTS)).toHaveLength(6)
  })

  it('fails immediately if no server ever responded, and is retried otherwise', async () => {
    server.behave = () => ({ drop: 'at once' })
    await expectRejects(load(), 'NETWORK', /cannot fetch \/a%20model\/config\.json from http:\/\/127\.0\.0\.1/)
    expect(server.asked).toHaveLength(1)
    server.reset(model())
    misbehave({ drop: 'at once' }, { drop: 'at once' })
    expectFiles(await load())
    expect(pauses).toEqual([250, 500])
    server.reset(model())
    misbehaveAlways({ drop: 'at once' })
    await expectRejects(load(), 'NETWORK', /cannot fetch \/a%20model\/model\.safetensors .*tried 6 times/)
  })

  it('is resumed after temporary server errors, but not when the file is gone or forbidden', async () => {
    misbehave({ drop: 3000 }, { status: 503 }, { status: 429 })
    expectFiles(await load())
    expect(server.rangesOf(WEIGHTS)).toEqual([undefined, 'bytes=3000-', 'bytes=3000-', 'bytes=3000-'])
    for (const [status, message] of [
      [404, /model\.safetensors .*broke after 3000 bytes.*the file was gone \(status 404\)/],
      [401, /model\.safetensors was answered with status 401/],
    ] as const) {
      server.reset(model())
      misbehave({ drop: 3000 }, { status })
      await expectRejects(load(), 'BAD_FILE', message)
      expect(server.rangesOf(WEIGHTS)).toHaveLength(2)
    }
  })

  it('is cancelled at once while it pauses, and leaves no listener', async () => {
    const controller = new AbortController()
    isPauseEndless = true
    misbehave({ drop: 3000 })
    const loading = load({ signal: controller.signal })
    await eventually(() => expect(pauses).toHaveLength(1))
    controller.abort('enough')
    await expect(loading).rejects.toBe('enough')
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
    expect(server.rangesOf(WEIGHTS)).toEqual([undefined])
  })

  it('leaves no timer when it is cancelled while it pauses', async () => {
    const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length
    const before = timers()
    const controller = new AbortController()
    isPauseEndless = true
    const pausing = delay(250, controller.signal)
    expect(timers()).toBe(before + 1)
    controller.abort('enough')
    await expect(pausing).rejects.toBe('enough')
    expect(timers()).toBe(before)
  })
})

describe('a file that changes while it is downloaded', () => {
  const changed = model(7)

  it.each<[string, Behaviour[]]>([
    ['another ETag, and all of it', []],
    ['a part with another ETag', [{ status: 206, ranges: false, contentRange: 'bytes 3000-4999/5000' }]],
    ['a refusal of the range', [{ status: 416, bytes: new Uint8Array(9) }]],
  ])('is read again from its start when there is %s', async (_, answers) => {
    misbehave({ drop: 3000 }, ...answers)
    const { behave } = server
    server.behave = (name, before) =>
      name === WEIGHTS && before > 0 ? { bytes: changed.get(WEIGHTS)!, etag: '"v2"', ...behave(name, before) } : behave(name, before)
    const events: LoadProgress[] = []
    expectFiles(await load({ onProgress: (progress) => events.push(progress) }), changed)
    expect(events.at(-1)).toEqual({ type: 'load', done: size(), total: size() })
  })

  it('is read in its new state: other tensors, another length', async () => {
    const bytes = writeSafetensors({ other: { dtype: 'U8', shape: [2], bytes: Uint8Array.of(1, 2) } })
    misbehave({ drop: 3000 }, { bytes, etag: '"v2"' })
    const checked: string[][] = []
    const { tensors } = await readModelFiles(server.folder, {}, { weights: (found) => void checked.push([...found.keys()]) })
    expect([...tensors]).toEqual([['other', { dtype: 'U8', shape: [2], bytes: Uint8Array.of(1, 2) }]])
    expect(checked).toEqual([['weight'], ['other']])
  })

  it('is rejected when it becomes a web page', async () => {
    misbehave({ drop: 3000 }, { bytes: Buffer.from('<!doctype html><p>Under maintenance'), etag: '"page"' })
    await expectRejects(load(), 'BAD_FILE', /lacks model\.safetensors \(an HTML page was sent instead\)/)
  })

  it('is given up if it keeps changing', async () => {
    server.behave = (name, before) => (name === WEIGHTS ? { etag: `"${before}"`, drop: 3000 } : {})
    await expectRejects(load(), 'NETWORK', /model\.safetensors did not arrive whole.*tried 6 times/)
  })
})

describe('a partial response that is not the requested rest is rejected', () => {
  const length = model().get(WEIGHTS)!.length
  it.each<[string, string | null, RegExp]>([
    ['it begins elsewhere', `bytes 2999-${length - 1}/${length}`, new RegExp(`bytes 3000-…/${length}, but came with "bytes 2999-`)],
    ['it is of a file of another length', `bytes 3000-${length}/${length + 1}`, /bytes 3000-….* came with "bytes 3000-/],
    ['it ends before it begins', `bytes 3000-2000/${length}`, /.* came with "bytes 3000-2000/],
    ['it is counted in something else', `tokens 3000-3001/${length}`, /.* came with "tokens/],
    ['it does not say what it is', null, /.* came with null/],
  ])('when %s', async (_, contentRange, message) => {
    misbehave({ drop: 3000 }, { contentRange })
    const told = new RegExp(
      `model\\.safetensors did not arrive whole: the rest of it should have come with Content-Range ${message.source}`,
    )
    await expectRejects(load(), 'BAD_FILE', told)
    expect(server.rangesOf(WEIGHTS)).toEqual([undefined, 'bytes=3000-'])
  })

  it('when everything was requested', async () => {
    misbehave({ status: 206 })
    await expectRejects(load(), 'BAD_FILE', /model\.safetensors .*only a part of it was sent \(status 206\)/)
  })

  it('but may omit the total length, or stop early and be resumed again', async () => {
    misbehave({ drop: 3000 }, { contentRange: `bytes 3000-${length - 1}/*` })
    expectFiles(await load())
    server.reset(model())
    misbehave({ drop: 3000 }, { bytes: server.files.get(WEIGHTS)!.subarray(0, 4000), contentRange: `bytes 3000-3999/${length}` })
    expectFiles(await load())
    expect(server.rangesOf(WEIGHTS)).toEqual([undefined, 'bytes=3000-', 'bytes=4000-'])
  })
})

describe('a compressed body', () => {
  it('is never resumed', async () => {
    misbehave({ gzip: true, drop: 60 }, { gzip: true })
    expectFiles(await load())
    expect(server.rangesOf(WEIGHTS)).toEqual([undefined, undefined])
    server.reset(model())
    misbehave({ drop: 3000 }, { gzip: true })
    expectFiles(await load())
    expect(server.rangesOf(WEIGHTS)).toEqual([undefined, 'bytes=3000-', undefined])
  })

  it('does not report its Content-Length as the total', async () => {
    server.behave = () => ({ gzip: true, pieces: 7 })
    const events: LoadProgress[] = []
    expectFiles(await load({ onProgress: (progress) => events.push(progress) }))
    // unknown lengths count as they arrive; the header gives that of the weights
    for (const { done, total } of events) expect([done, size()]).toContain(total)
    expect(events.filter(({ total }) => total === size()).length).toBeGreaterThan(1)
    expect(events.at(-1)).toEqual({ type: 'load', done: size(), total: size() })
  })
})

describe('a body of the wrong length', () => {
  const weights = () => server.files.get(WEIGHTS)!

  it('is requested again if it ends before its Content-Length, and rejected if it always does', async () => {
    misbehave({ contentLength: weights().length, bytes: weights().subarray(0, 3000) })
    expectFiles(await load())
    expect(server.rangesOf(WEIGHTS)).toEqual([undefined, 'bytes=3000-'])
    server.reset(model())
    server.behave = (name) =>
      name === WEIGHTS ? { bytes: weights().subarray(0, 3000), contentLength: weights().length, ranges: false } : {}
    await expectRejects(load(), 'NETWORK', /model\.safetensors did not arrive whole.*3000 bytes.*tried 6 times/)
  })

  it.each<[string, Behaviour, RegExp]>([
    ['too short, and says so', {}, /model\.safetensors .*describes \d+ bytes, and it has \d+$/],
    ['too short, and does not say so', { chunked: true }, /model\.safetensors has \d+ bytes, but its header describes \d+$/],
    ['too short and compressed', { gzip: true }, /model\.safetensors has \d+ bytes, but its header describes \d+$/],
  ])('is rejected at once when it is %s', async (_, behaviour, message) => {
    misbehaveAlways({ ...behaviour, bytes: weights().subarray(0, -1) })
    await expectRejects(load(), 'BAD_FILE', message)
    expect(server.rangesOf(WEIGHTS)).toEqual([undefined])
  })

  it.each<[string, Behaviour, RegExp]>([
    ['too long, and says so', {}, /model\.safetensors .*describes \d+ bytes, and it has \d+$/],
    ['too long, and does not say so', { chunked: true }, /model\.safetensors has more than \d+ bytes, but its header describes \d+$/],
    ['too long without an end', { chunked: true, hang: true }, /model\.safetensors has more than \d+ bytes/],
    ['too long and compressed', { gzip: true }, /model\.safetensors has more than \d+ bytes, but its header describes \d+$/],
  ])('is rejected at once when it is %s', async (_, behaviour, message) => {
    misbehaveAlways({ ...behaviour, bytes: Buffer.concat([weights(), Buffer.of(0)]) })
    await expectRejects(load(), 'BAD_FILE', message)
    expect(server.rangesOf(WEIGHTS)).toEqual([undefined])
  })

  it('is rejected when its config or tokenizer is cut short', async () => {
    for (const name of ['config.json', 'tokenizer.json']) {
      server.reset(model())
      const bytes = server.files.get(name)!.subarray(0, -1)
      server.behave = (asked) => (asked === name ? { bytes } : {})
      const tokenizer = (read: Uint8Array) => void JSON.parse(new TextDecoder().decode(read))
      await expect(readModelFiles(server.folder, {}, { tokenizer })).rejects.toThrow(/JSON/)
    }
  })
})

describe('a web page with status 200', () => {
  it.each(['<!DOCTYPE html><html>', '\n\n  <html lang="en">', '\ufeff<!doctype html>', '<!-- built --><html>'])(
    'is recognized, in one piece or byte by byte: %j',
    async (start) => {
      const bytes = Buffer.from(start + '<body>Not found'.repeat(9))
      for (const name of ['config.json', 'tokenizer.json', WEIGHTS]) {
        for (const pieces of [1000, 1]) {
          server.reset(model())
          server.behave = (asked) => (asked === name ? { bytes, pieces } : {})
          await expectRejects(load(), 'BAD_FILE', new RegExp(`lacks ${name} \\(an HTML page was sent instead\\)`))
        }
      }
    },
  )
})

describe('a download that is cancelled', () => {
  it('ends its connection, and leaves no listener on the signal', async () => {
    misbehave({ bytes: server.files.get(WEIGHTS)!.subarray(0, 3000), contentLength: server.files.get(WEIGHTS)!.length, hang: true })
    const controller = new AbortController()
    const onProgress = ({ done }: LoadProgress) => done > 2000 && setTimeout(() => controller.abort('enough'))
    await expect(load({ signal: controller.signal, onProgress })).rejects.toBe('enough')
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
    await server.idle()
  })
})

describe('a slow server', () => {
  it('is waited for', async () => {
    server.behave = () => ({ pieces: 20, chunked: true })
    expectFiles(await load())
    expect(pauses).toEqual([])
    expect(server.asked).toHaveLength(3)
  })
})

describe("from another origin's server", () => {
  const exposed = ['etag', 'content-range']

  it('a download is resumed where ETag and Content-Range are exposed', async () => {
    misbehave({ drop: 3000 })
    expectFiles(await load({ fetch: asPage(exposed) }))
    expect(server.rangesOf(WEIGHTS)).toEqual([undefined, 'bytes=3000-'])
  })

  it('a download begins again at once where ETag is not', async () => {
    misbehave({ lastModified: new Date(0), drop: 3000 }, { lastModified: new Date(0) })
    expectFiles(await load({ fetch: asPage(['content-range']) }))
    expect(server.rangesOf(WEIGHTS)).toEqual([undefined, undefined])
    expect(pauses).toEqual([250])
  })

  it.each<[string, string[], Behaviour]>([
    ['Content-Range is not', ['etag'], { drop: 3000 }],
    ['the length was not told', exposed, { drop: 3000, chunked: true }],
  ])('a download begins again where %s', async (_, visible, behaviour) => {
    misbehave(behaviour)
    expectFiles(await load({ fetch: asPage(visible) }))
    expect(server.rangesOf(WEIGHTS)).toEqual([undefined, expect.stringMatching(/^bytes=\d+-$/), undefined])
  })

  it('a download begins again where the body may have been compressed', async () => {
    misbehave({ gzip: true })
    const fetchAsPage = asPage(exposed)
    let breaks = 1
    const fetch: Fetch = async (url, init) => {
      const response = await fetchAsPage(url, init)
      if (!url.endsWith(WEIGHTS) || breaks-- !== 1) return response
      // Breaks once some bytes have been decoded, which a dropped connection does not wait for.
      const reader = response.body!.getReader()
      const { value } = await reader.read()
      await reader.cancel()
      const body = new ReadableStream(
        { start: (controller) => controller.enqueue(value!.subarray(0, 1000)), pull: () => Promise.reject(new Error('cable cut')) },
        { highWaterMark: 0 },
      )
      return Object.defineProperty(response, 'body', { value: body })
    }
    expectFiles(await load({ fetch }))
    expect(server.rangesOf(WEIGHTS)).toEqual([undefined, 'bytes=1000-', undefined])
  })

  it('a download begins again on the last retry if the page may not request a range', async () => {
    misbehave({ drop: 3000 })
    expectFiles(await load({ fetch: asPage(exposed, false) }))
    expect(pauses).toEqual([250, 500, 1000, 2000, 4000])
    expect(server.rangesOf(WEIGHTS)).toEqual([undefined, undefined])
  })

  it('a compressed body is read although its length differs', async () => {
    server.behave = () => ({ gzip: true })
    expectFiles(await load({ fetch: asPage([]) }))
  })
})
