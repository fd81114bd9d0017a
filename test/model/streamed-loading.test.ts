/** Weights are packed as they arrive, from any source, and through any failure on the way. */
import { mkdtempSync, openAsBlob, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Runtime } from '../../src/device/runtime.js'
import type { CacheLike, LoadProgress, ModelSource, ReadOptions } from '../../src/io/read-options.js'
import { parseSafetensors } from '../../src/io/safetensors.js'
import { writeSafetensors } from '../../src/io/write-safetensors.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { quantizeModel } from '../../src/model/quantization/quantize-model.js'
import { expectSameBits } from '../kernels/float32.js'
import { expectRejects } from '../support/errors.js'
import { expectSteady } from '../support/load-progress.js'
import { ModelServer } from '../support/model-server.js'
import { formats, narrowModelFiles } from '../support/narrow-models.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, randomTokens, smallModel, smallModelFiles } from '../support/small-models.js'

vi.mock('../../src/io/sources/delay.js', () => ({ delay: async () => {} }))

const MEBIBYTE = 2 ** 20
const WEIGHTS = 'model.safetensors'
const INDEX = 'model.safetensors.index.json'
const config = { ...causalConfig, num_tokens: 8000, dim: 256 }
const ids = randomTokens(20, config.num_tokens)

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const folder = mkdtempSync(join(tmpdir(), 'streamed-'))
let server: ModelServer
let runtime: Runtime
let files: Map<string, Uint8Array>
let expected: Float32Array
beforeAll(async () => {
  server = await ModelServer.start()
  runtime = openRuntime('relaxed')
  files = smallModelFiles(smallModel(config))
  for (const [name, bytes] of files) writeFileSync(join(folder, name), bytes)
  expected = (await outcome(files)).logits
})
afterAll(async () => {
  await server.stop()
  await runtime.dispose()
  rmSync(folder, { recursive: true })
})
beforeEach(() => server.reset(files))

const newFolder = () => mkdtempSync(join(folder, 'cache-'))

/** Loads and disposes of a model: its logits, and what it was like to load it. */
async function outcome(source: ModelSource, options: ReadOptions = {}) {
  const before = runtime.info.memory.used
  const events: LoadProgress[] = []
  const onProgress = (progress: LoadProgress) => void events.push(progress)
  const model = await LanguageModel.load(source, { runtime, onProgress, ...options })
  const used = runtime.info.memory.used - before
  const { data: logits } = await model.forward(ids)
  const saved = model.createSession().save()
  model.dispose()
  expect(runtime.info.memory.used).toBe(before)
  return { logits, used, saved, events }
}

describe('few of the arriving bytes are held at a time', () => {
  async function picked() {
    const list = [...files.keys()].map(async (name) => {
      const blob = await openAsBlob(join(folder, name))
      const slice = (start: number, end: number) => blob.slice(start, end)
      return { name, size: blob.size, arrayBuffer: () => blob.arrayBuffer(), slice }
    })
    return Promise.all(list)
  }
  /** A Cache that reads what it is given, as those of browsers do, and keeps nothing. */
  const reading: CacheLike = {
    match: async () => undefined,
    put: async (_, response) => {
      const reader = response.body!.getReader()
      while (!(await reader.read()).done);
    },
  }
  it.each<[string, () => ModelSource | Promise<ModelSource>, (() => ReadOptions)?]>([
    ['a folder', () => folder],
    ['files that were picked', picked],
    ['a server', () => server.folder],
    ['a server, into a folder', () => server.folder, () => ({ cache: newFolder() })],
    ['a server, into a Cache', () => server.folder, () => ({ cache: reading })],
    ['bytes', () => files],
  ])('from %s', async (_, source, options = () => ({})) => {
    server.behave = () => ({ pieces: MEBIBYTE / 4 })
    const from = await source()
    const { used } = runtime.info.memory
    const held = () => {
      // a thread of the engine's own frees the buffers of the first collection, and the second waits for it
      for (let i = 0; i < 2; i++) collectGarbage()
      return process.memoryUsage().arrayBuffers
    }
    const before = held()
    let most = 0
    let last = 0
    const onProgress = ({ done }: LoadProgress) => {
      if (done < last + MEBIBYTE) return
      last = done
      most = Math.max(most, held() - before)
      expect(runtime.info.memory.used - used).toBeLessThan(1.01 * files.get(WEIGHTS)!.length + MEBIBYTE)
    }
    using model = await LanguageModel.load(from, { runtime, onProgress, ...options() })
    expect(model.runtime.info.memory.used).toBeGreaterThan(used)
    expect(last).toBeGreaterThan(15 * MEBIBYTE)
    expect(most).toBeLessThan(5 * MEBIBYTE)
  })
})

describe('a transfer that breaks after some weights were packed', () => {
  it('resumes where it broke', async () => {
    server.behave = (name, before) => (name === WEIGHTS && before < 3 ? { drop: 5 * MEBIBYTE } : {})
    const { logits, events } = await outcome(server.folder)
    expectSameBits(logits, expected)
    expectSteady(events)
    expect(server.rangesOf(WEIGHTS)).toEqual([undefined, ...[5, 10, 15].map((at) => `bytes=${at * MEBIBYTE}-`)])
  })

  it('begins again, with all of the new file, if it has changed', async () => {
    const changed = smallModelFiles(smallModel(config, 7))
    const whole = await outcome(changed)
    server.behave = (name, before) =>
      name === WEIGHTS ? (before === 0 ? { drop: 9 * MEBIBYTE } : { bytes: changed.get(WEIGHTS)!, etag: '"v2"' }) : {}
    const { logits, saved, events } = await outcome(server.folder)
    expectSameBits(logits, whole.logits)
    expect(saved).toEqual(whole.saved)
    expectSteady(events)
  })

  it('may come from a cache whose copy is damaged near its end', async () => {
    const cache = newFolder()
    const hash = await crypto.subtle.digest('SHA-256', new Uint8Array(files.get(WEIGHTS)!))
    const digest = { [WEIGHTS]: Buffer.from(hash).toString('hex') }
    const first = await outcome(server.folder, { cache, integrity: digest })
    for (const name of readdirSync(cache)) {
      const path = join(cache, name)
      const bytes = Buffer.from(await (await openAsBlob(path)).arrayBuffer())
      if (bytes.length < MEBIBYTE) continue
      bytes[bytes.length - 100]! ^= 1
      writeFileSync(path, bytes)
    }
    const again = await outcome(server.folder, { cache, integrity: digest })
    expect(again.saved).toEqual(first.saved)
    expectSameBits(again.logits, expected)
    expect(server.rangesOf(WEIGHTS)).toHaveLength(2)
  })
})

it('a wrong digest is detected at the end, when all is packed: nothing remains in memory or in the cache', async () => {
  const cache = newFolder()
  const { used } = runtime.info.memory
  for (const [source, caching] of [[folder], [server.folder, { cache }], [files]] as const) {
    const options = { runtime, integrity: { [WEIGHTS]: '0'.repeat(64) }, ...caching }
    await expectRejects(LanguageModel.load(source, options), 'BAD_FILE', /digest/)
    expect(runtime.info.memory.used).toBe(used)
  }
  const sizes = readdirSync(cache).map((name) => statSync(join(cache, name)).size)
  // config.json, and that others are absent
  expect(sizes).toHaveLength(3)
  expect(Math.max(...sizes)).toBeLessThan(MEBIBYTE)
})

describe('shards', () => {
  /** The model in this many shards, its tensors in turn. */
  function sharded(model: ReadonlyMap<string, Uint8Array>, count: number): Map<string, Uint8Array> {
    const tensors = [...parseSafetensors(model.get(WEIGHTS)!)]
    const shards = Array.from({ length: count }, (_, i) => new Map(tensors.filter((_, at) => at % count === i)))
    const weightMap = Object.fromEntries(tensors.map(([name], at) => [name, `${at % count}.safetensors`]))
    return new Map([
      ['config.json', model.get('config.json')!],
      [INDEX, new TextEncoder().encode(JSON.stringify({ weight_map: weightMap }))],
      ...shards.map((shard, i) => [`${i}.safetensors`, writeSafetensors(shard)] as const),
    ])
  }

  it('over HTTP are few open at a time, and give the same model', async () => {
    const model = sharded(files, 7)
    const local = await outcome(model)
    server.reset(model)
    const { logits, saved, events } = await outcome(server.folder)
    expectSameBits(logits, expected)
    expectSameBits(local.logits, expected)
    expect(saved).toEqual(local.saved)
    expectSteady(events)
    const asked = Array.from({ length: 7 }, (_, i) => server.rangesOf(`${i}.safetensors`).length)
    expect(asked).toEqual([1, 1, 1, 1, 2, 2, 2])
  })

  it.each([1, 5])('of which one changes between its header and its tensors are read again: %i', async (index) => {
    const model = sharded(files, 7)
    server.reset(model)
    const name = `${index}.safetensors`
    const zeros = [...parseSafetensors(model.get(name)!)].map(
      ([tensor, { bytes, ...info }]) => [tensor, { ...info, bytes: new Uint8Array(bytes.length) }] as const,
    )
    const changed = writeSafetensors(new Map(zeros), { version: '2' })
    // the second request gets another file, the third the first one again
    server.behave = (asked, before) => {
      if (asked !== name || before > 1) return {}
      return before === 0 ? { drop: MEBIBYTE / 8 } : { bytes: changed, etag: '"v2"' }
    }
    expectSameBits((await outcome(server.folder)).logits, expected)
    expect(server.rangesOf(name).length).toBeGreaterThan(2)
  })
})

it.each([Infinity, NaN])('float16 with %d is read once more, and packed as float32', async (value) => {
  const change = (bits: Map<string, Uint16Array>) => {
    for (const name of ['to_logits.1.weight', 'token_emb.weight']) {
      const values = bits.get(name)!
      values[values.length - 1] = formats.F16.toBits(value)
    }
  }
  const narrow = narrowModelFiles({ ...causalConfig, num_tokens: 64 }, 'F16', 'narrow', change)
  const wide = narrowModelFiles({ ...causalConfig, num_tokens: 64 }, 'F16', 'wide', change)
  server.reset(narrow)
  const tokens = [1, 2, 3]
  const load = async (source: ModelSource, options: ReadOptions = {}) => {
    using model = await LanguageModel.load(source, { runtime, ...options })
    return (await model.forward(tokens)).data
  }
  const events: LoadProgress[] = []
  expectSameBits(await load(server.folder, { onProgress: (progress) => events.push(progress) }), await load(wide))
  expectSteady(events)
  expect(server.rangesOf(WEIGHTS)).toEqual([undefined, undefined])
})

describe('bytes of any kind', () => {
  const kinds: [string, (bytes: Uint8Array) => Uint8Array][] = [
    ['buffers of Node, at an odd place', (bytes) => Buffer.concat([Buffer.alloc(1), bytes]).subarray(1)],
    [
      'shared memory',
      (bytes) => {
        const copy = new Uint8Array(new SharedArrayBuffer(bytes.length + 1), 1)
        copy.set(bytes)
        return copy
      },
    ],
  ]
  const small = { ...causalConfig, num_tokens: 64 }
  const models: [string, () => Map<string, Uint8Array> | Promise<Map<string, Uint8Array>>][] = [
    ['float32', () => smallModelFiles(smallModel(small))],
    ['int8', () => quantizeModel(smallModelFiles(smallModel(small)))],
    ['float16', () => narrowModelFiles(small, 'F16', 'narrow')],
  ]
  it.each(kinds.flatMap(([kind, as]) => models.map(([name, make]) => [kind, name, as, make] as const)))(
    '%s: %s',
    async (_, __, as, make) => {
      const model = await make()
      const tokens = [1, 2, 3]
      const load = async (source: ModelSource, options: ReadOptions = {}) => {
        using loaded = await LanguageModel.load(source, { runtime, ...options })
        return { logits: (await loaded.forward(tokens)).data, saved: loaded.createSession().save() }
      }
      const expected = await load(model)
      const other = new Map([...model].map(([name, bytes]) => [name, as(bytes)]))
      const integrity: Record<string, string> = {}
      for (const [name, bytes] of model) integrity[name] = Buffer.from(await crypto.subtle.digest('SHA-256', bytes.slice())).toString('hex')
      const found = await load(other, { integrity })
      expectSameBits(found.logits, expected.logits)
      expect(found.saved).toEqual(expected.saved)
      // and as a body of pieces of such bytes
      const fetch = async (url: string) => {
        const bytes = other.get(url.split('/').at(-1))
        if (!bytes) return new Response(null, { status: 404 })
        let at = 0
        const pull = (controller: ReadableStreamDefaultController<Uint8Array>) => {
          if (at >= bytes.length) return controller.close()
          controller.enqueue(bytes.subarray(at, (at += 1001)))
        }
        return new Response(new ReadableStream({ pull }))
      }
      const fetched = await load(new URL('https://models.example'), { fetch, integrity })
      expectSameBits(fetched.logits, expected.logits)
      expect(fetched.saved).toEqual(expected.saved)
    },
  )
})
