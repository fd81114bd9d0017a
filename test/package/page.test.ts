import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { buildPage } from '../../examples/page/build.mjs'
import { serveFolder } from '../../examples/page/serve.mjs'
import type { Calls, CallName, Look, TokenBatch } from '../../examples/page/src/protocol.js'
import { ChapterFinder } from '../../examples/page/src/engine/chapters.js'
import { longChapters, peakOf } from '../../examples/page/src/ui/passages.js'
import { Snapshots } from '../../examples/page/src/engine/snapshots.js'
import { Suggester } from '../../examples/page/src/engine/suggester.js'
import { TokenTexts } from '../../examples/page/src/engine/token-texts.js'
import { createRuntime, LanguageModel, type Runtime } from '../../src/index.js'
import { novels2Int8Folder } from '../support/models.js'

const folder = mkdtempSync(join(tmpdir(), 'routed-attention-page-'))
let server: Awaited<ReturnType<typeof serveFolder>>
let runtime: Runtime
let model: LanguageModel

beforeAll(async () => {
  await buildPage(folder)
  server = await serveFolder(folder)
  runtime = await createRuntime({ threads: 1 })
  model = await LanguageModel.load(novels2Int8Folder, { runtime })
})

afterAll(async () => {
  server?.close()
  server?.closeAllConnections()
  await runtime?.dispose()
  rmSync(folder, { recursive: true })
})

const sampling = {
  ...{ temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, frequencyPenalty: 0, presencePenalty: 0 },
  ...{ seed: 1, maxTokens: 8 },
}

/** The page's worker, with what a browser gives one, in a thread of Node. */
function startWorker() {
  const script = `
    const { parentPort, workerData } = require('node:worker_threads')
    globalThis.self = globalThis
    globalThis.navigator ??= { hardwareConcurrency: 1 }
    globalThis.addEventListener = (type, listener) => parentPort.on(type, (data) => listener({ data }))
    globalThis.postMessage = (message) => parentPort.postMessage(message)
    import(workerData)`
  const worker = new Worker(script, { eval: true, workerData: new URL(`file://${join(folder, 'worker.js')}`).href })
  let last = 0
  /** Calls the worker; `onEvent` may return true, which cancels the call. */
  const call = <Name extends CallName>(
    name: Name,
    params: Calls[Name]['params'],
    onEvent: (event: Calls[Name]['event']) => boolean | void = () => {},
  ): Promise<Calls[Name]['result']> => {
    const id = ++last
    return new Promise((resolve, reject) => {
      worker.on('message', (reply: { id: number; event?: never; result?: never; error?: { code: string; message: string } }) => {
        if (reply.id !== id) return
        if (reply.event !== undefined && onEvent(reply.event)) worker.postMessage({ cancel: id })
        if (reply.result !== undefined) resolve(reply.result)
        if (reply.error) reject(Object.assign(new Error(reply.error.message), { code: reply.error.code }))
      })
      worker.postMessage({ id, name, params })
    })
  }
  const load = () => call('load', { source: { url: `${server.origin}/models/novels-10m-v2-int8/` }, bytes: false, threads: 1 })
  return { worker, call, load }
}

/** The texts of a writing's events, in order; a later batch may begin with tokens that are there. */
function collect(texts: string[]) {
  return (event: object) => {
    const { tokens } = event as { tokens?: TokenBatch }
    tokens?.texts.forEach((text, index) => (texts[tokens.start + index] = text as string))
  }
}

async function greedy(prompt: string | readonly number[], maxTokens: number): Promise<string> {
  const { text } = await model.complete(prompt, { temperature: 0, maxTokens })
  return text
}

test('the page is static files, each of which is served in isolation, and nothing else is', async () => {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  expect(files.length).toBeGreaterThan(8)
  for (const { parentPath, name } of files) {
    const path = join(parentPath, name).slice(folder.length)
    const response = await fetch(server.origin + path, { method: 'HEAD' })
    expect([path, response.status, response.headers.get('cross-origin-embedder-policy')]).toEqual([path, 200, 'require-corp'])
    expect(response.headers.get('cross-origin-opener-policy'), path).toBe('same-origin')
  }
  const html = readFileSync(join(folder, 'index.html'), 'utf8')
  // no base path is assumed, so that it can lie in any folder of a host
  for (const [, reference] of html.matchAll(/(?:href|src)="([^"#]+)"/g)) {
    expect(reference).toMatch(/^\.\//)
    expect(existsSync(join(folder, reference!)), reference).toBe(true)
  }
  for (const path of ['/package.json', '/%2e%2e/package.json', '/../package.json', '/models', '/%ff'])
    expect((await fetch(server.origin + path)).ok, path).toBe(false)
})

describe('the page’s worker', () => {
  test('writes what the API writes, goes on, and stops on request', async () => {
    const { worker, call, load } = startWorker()
    try {
      expect(await load()).toMatchObject({ name: 'novels-10m-v2-int8', depth: 6, experts: 1, held: 128, routedLayers: [4, 5] })
      const texts: string[] = []
      expect(await call('write', { prompt: 'The old captain', sampling }, collect(texts))).toMatchObject({ tokens: 8 })
      const first = `The old captain${await greedy('The old captain', 8)}`
      expect(texts.join('')).toBe(first)
      expect(await call('write', { prompt: null, sampling }, collect(texts))).toMatchObject({ tokens: 8 })
      expect(texts.join('')).toBe(`The old captain${await greedy('The old captain', 16)}`)

      const { tokens } = await call('write', { prompt: null, sampling: { ...sampling, maxTokens: 1_000_000 } }, () => true)
      expect(tokens).toBeLessThan(1_000_000)
      await expect(call('write', { prompt: '', sampling })).rejects.toThrow(/append/)
    } finally {
      await worker.terminate()
    }
  })

  test('looks at one of the last tokens when writing ends, and when it is stopped', async () => {
    const { worker, call, load } = startWorker()
    try {
      await load()
      const texts: string[] = []
      const add = collect(texts)
      let last: Look | undefined
      const onEvent = (event: object): boolean => {
        add(event)
        if ('look' in event) last = event.look as Look
        return texts.length > 400
      }
      await call('write', { prompt: 'The old captain', sampling: { ...sampling, maxTokens: 300 } }, onEvent)
      expect(last!.position).toBeGreaterThanOrEqual(texts.length - 16)
      await call('write', { prompt: null, sampling: { ...sampling, maxTokens: 1_000_000 } }, onEvent)
      expect(last!.position).toBeGreaterThanOrEqual(texts.length - 16)
      const looked = await call('look', { text: 'writing', position: last!.position })
      expect(looked.layers).toEqual(last!.layers)
    } finally {
      await worker.terminate()
    }
  })

  test('puts another token in a place, and goes on from there as if it had been read', async () => {
    const { worker, call, load } = startWorker()
    try {
      await load()
      const prompt = 'The old captain put down his glass, looked at the map, and'
      const texts: string[] = []
      await call('write', { prompt, sampling: { ...sampling, maxTokens: 200 } }, collect(texts))
      const given = model.tokenizer.encode(prompt)
      const position = given.length + 150
      const { choices, chosen } = await call('look', { text: 'writing', position })
      expect(choices[0]).toEqual(chosen)
      const other = choices[1]!
      expect(other.probability).toBeLessThan(chosen.probability)
      const branched: string[] = texts.slice(0, position)
      await call('branch', { position, id: other.id, sampling }, collect(branched))
      const before = (await model.complete(given, { temperature: 0, maxTokens: 150 })).ids
      expect(branched.join('')).toBe(texts.slice(0, position).join('') + other.text + (await greedy([...given, ...before, other.id], 8)))
    } finally {
      await worker.terminate()
    }
  })

  test('reads a file in one session, with the bits of one append, stops, and goes on where it was', async () => {
    const { worker, call, load } = startWorker()
    try {
      await load()
      const text = readFileSync(new URL('../novels-10m/treasure-island.txt', novels2Int8Folder), 'utf8').slice(0, 24_000)
      // in the middle: a thread that stalls may find it read
      let stopped = await call('read', { file: new Blob([text]) }, () => true)
      while (stopped.bytesDone === stopped.bytesTotal) stopped = await call('read', { file: new Blob([text]) }, () => true)
      const end = await call('read', { file: null })
      const ids = model.tokenizer.encode(text)
      expect(stopped.tokens).toBeLessThan(ids.length)
      expect(end).toMatchObject({ tokens: ids.length, bytesDone: end.bytesTotal })
      const whole = await model.createSession().append(ids, { bits: true })
      const { texts, bits } = await call('tokens', { text: 'reading', start: 0, end: ids.length })
      expect(texts.join('')).toBe(text)
      expect(stopped.bytesDone).toBe(Buffer.byteLength(texts.slice(0, stopped.tokens).join('')))
      expect(bits).toEqual(whole.bits)
      // what was held for a token long ago is found again from a snapshot
      const look = await call('look', { text: 'reading', position: 1000 })
      const session = model.createSession()
      await session.append(ids.slice(0, 1001))
      const { layers } = await session.inspect()
      expect(look.layers.map(({ experts }) => experts.map(({ held }) => [...held]))).toEqual(
        layers.map(({ heldPositions }) => heldPositions.map((held) => [...held])),
      )
    } finally {
      await worker.terminate()
    }
  })

  test('loads again after a failed load', async () => {
    let isUp = false
    const host = createServer((request, response) => {
      const file = new URL(request.url!.split('/').at(-1), novels2Int8Folder)
      if (!isUp) response.writeHead(503).end()
      else if (existsSync(file)) response.end(readFileSync(file))
      else response.writeHead(404).end()
    })
    await new Promise<void>((resolve) => host.listen(0, '127.0.0.1', resolve))
    const { worker, call } = startWorker()
    try {
      const url = `http://127.0.0.1:${(host.address() as AddressInfo).port}/`
      await expect(call('load', { source: { url }, bytes: false, threads: 1 })).rejects.toThrow(/status 503 .*trying again later may help/)
      await expect(call('write', { prompt: 'The', sampling })).rejects.toThrow(/No model/)
      isUp = true
      const progress: { done: number; total: number }[] = []
      await call('load', { source: { url }, bytes: false, threads: 1 }, (event) => void progress.push(event))
      expect(progress.at(-1).done).toBe(progress.at(-1).total)
      const texts: string[] = []
      await call('write', { prompt: 'The old captain', sampling }, collect(texts))
      expect(texts.join('')).toBe(`The old captain${await greedy('The old captain', 8)}`)
    } finally {
      await worker.terminate()
      host.close()
      host.closeAllConnections()
    }
  })
})

test('a suggestion is the same however the text was typed, and goes on with its last letters', async () => {
  const signal = new AbortController().signal
  const texts = new TokenTexts(model.tokenizer)
  const typing = new Suggester(model, texts)
  const text = 'Nobody had lived there since the winter, and the old capt'
  const suggestions = new Map<string, string>()
  for (let end = 30; end <= text.length; end++) suggestions.set(text.slice(0, end), await typing.suggest(text.slice(0, end), 8, signal))
  for (const typed of [text, text.slice(0, 41), text.slice(0, 33)]) {
    const fresh = new Suggester(model, texts)
    expect(await fresh.suggest(typed, 8, signal), typed).toBe(suggestions.get(typed))
    // letters are taken back
    expect(await typing.suggest(typed, 8, signal), typed).toBe(suggestions.get(typed))
    fresh.dispose()
  }
  expect(suggestions.get(text)).toMatch(/^[a-z]/)
  expect(await typing.suggest('', 8, signal)).toBe('')
  typing.dispose()
})

test('snapshots keep to their budget, the newest close together', () => {
  const snapshots = new Snapshots(1000)
  for (let position = 64; position <= 64_000; position += 64) snapshots.add({ position, bytes: new Uint8Array(100) })
  const { positions } = snapshots
  expect(snapshots.byteLength).toBe(1000)
  expect(positions.slice(-2)).toEqual([63_936, 64_000])
  const gaps = positions.slice(1).map((position, index) => position - positions[index]!)
  expect(Math.max(...gaps)).toBeLessThan(40_000)
  expect(snapshots.before(63_999)!.position).toBe(63_936)
  snapshots.truncate(63_990)
  expect(snapshots.positions.at(-1)).toBe(63_936)
})

test('chapters are found by their headings, with a title on the next line', () => {
  const finder = new ChapterFinder()
  const lines = [
    'PART ONE--The Old Buccaneer',
    '',
    '1',
    '',
    'The Old Sea-dog',
    '',
    'I remember him.',
    '',
    'Chapter II. Black Dog',
    '',
    'It was 1745',
    '12',
  ]
  finder.add(
    lines.map((line) => `${line}\n`),
    100,
  )
  expect(finder.chapters).toEqual([
    { title: 'PART ONE--The Old Buccaneer', start: 100 },
    { title: '1. The Old Sea-dog', start: 102 },
    { title: 'Chapter II. Black Dog', start: 108 },
  ])
})

test('a table of contents has no chapters', () => {
  const finder = new ChapterFinder()
  const lines = [
    'PART ONE',
    '',
    `1. ${'THE OLD SEA-DOG '.repeat(5)}   11 2. BLACK DOG . . . . . . . . 17`,
    '',
    'PART TWO',
    '',
    'Soon. . . .',
  ]
  finder.add(
    lines.map((line) => `${line}\n`),
    0,
  )
  expect(finder.chapters).toEqual([{ title: 'PART TWO', start: 4 }])
})

test('chapters without text are left out, and the most surprising passage lies inside its chapter', () => {
  const chapters = ['Contents', 'One', 'Two', 'The end'].map((title, index) => ({ title, start: [0, 20, 300, 900][index]! }))
  expect(longChapters(chapters, 1000)).toEqual([
    { title: 'One', start: 20, end: 300 },
    { title: 'Two', start: 300, end: 900 },
  ])
  const points = Float32Array.of(9, 3, 5, 4, 8, 2, 2)
  expect(peakOf(points, 64, 20, 300)).toEqual({ position: 128, bits: 5, mean: 4 })
})
