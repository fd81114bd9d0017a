/** The progress that a load reports, for any files and hosts. */
import fc from 'fast-check'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { readModelFiles } from '../../src/io/model-files.js'
import { LoadTracker } from '../../src/io/progress.js'
import type { Fetch, LoadProgress } from '../../src/io/read-options.js'
import { expectSteady } from '../support/load-progress.js'
import { type Behaviour, ModelServer } from '../support/model-server.js'
import { asPage } from '../support/page-fetch.js'
import { writeSafetensors } from '../support/write-safetensors.js'
import { runs } from '../support/seed.js'

vi.mock('../../src/io/sources/delay.js', () => ({ delay: async () => {} }))

let server: ModelServer
beforeAll(async () => void (server = await ModelServer.start()))
afterAll(() => server.stop())

/** Bytes that compress, or do not. */
const bytesOf = (length: number, isRandom: boolean) =>
  Uint8Array.from({ length }, (_, i) => (isRandom ? (Math.imul(i + 1, 0x9e3779b1) >>> 13) & 255 : i & 15))

const shards = (sizes: readonly number[], isRandom: boolean, seed: number) =>
  sizes.map((size, i): [string, Uint8Array] => {
    const bytes = bytesOf(size + seed, isRandom)
    return [`${i}.safetensors`, writeSafetensors({ [`t${i}`]: { dtype: 'U8', shape: [size + seed], bytes } })]
  })

it('never exceeds its total, which never decreases, and both agree in the end, for any encodings, drops, changed files and wrong hints', async () => {
  const behaviour = fc.record<Behaviour>(
    {
      gzip: fc.boolean(),
      chunked: fc.boolean(),
      ranges: fc.boolean(),
      pieces: fc.integer({ min: 300, max: 3000 }),
      drop: fc.integer({ min: 0, max: 4000 }),
      etag: fc.constantFrom('"v1"', '"v2"', null),
    },
    { requiredKeys: [] },
  )
  const draw = fc.record({
    sizes: fc.array(fc.integer({ min: 0, max: 3000 }), { minLength: 1, maxLength: 3 }),
    isRandom: fc.boolean(),
    totalSize: fc.option(fc.integer({ min: 0, max: 20_000 }), { nil: undefined }),
    behaviours: fc.array(behaviour, { maxLength: 6 }),
    hasChanged: fc.boolean(),
    page: fc.option(fc.constantFrom<string[]>([], ['etag', 'content-range']), { nil: undefined }),
  })
  await fc.assert(
    fc.asyncProperty(draw, async ({ sizes, isRandom, totalSize, behaviours, hasChanged, page }) => {
      const model = shards(sizes, isRandom, 1)
      const weightMap = Object.fromEntries(sizes.map((_, i) => [`t${i}`, `${i}.safetensors`]))
      const index = { metadata: { ...(totalSize !== undefined && { total_size: totalSize }) }, weight_map: weightMap }
      server.reset(
        new Map([...model, ['config.json', Buffer.from('{}')], ['model.safetensors.index.json', Buffer.from(JSON.stringify(index))]]),
      )
      const changed = new Map(shards(sizes, isRandom, 40))
      server.behave = (name, before) => {
        const { ...drawn } = behaviours[(before * 3 + name.length + name.charCodeAt(0)) % 7] ?? {}
        if (before > 3) delete drawn.drop
        // another version of the file, with another tag
        const bytes = hasChanged && before > 0 ? changed.get(name) : undefined
        return { ...drawn, ...(bytes && { bytes, etag: '"other"' }) }
      }
      const events: LoadProgress[] = []
      const fetch: Fetch | undefined = page && asPage(page)
      await readModelFiles(server.folder, { onProgress: (progress) => events.push(progress), fetch })
      expectSteady(events)
    }),
    runs(100),
  )
})

it('counts bytes exactly if the sizes are announced', () => {
  const events: [number, number][] = []
  const tracker = new LoadTracker(({ done, total }) => events.push([done, total]), undefined)
  tracker.begin('config', 10)
  tracker.advance('config', 10)
  tracker.finish('config')
  tracker.expectFurther(100)
  for (const shard of ['one', 'two']) {
    tracker.begin(shard, 60)
    tracker.advance(shard, 40)
    tracker.advance(shard, 20)
    tracker.finish(shard)
  }
  tracker.complete()
  expect(events).toEqual([[10, 10], [50, 110], [70, 110], [110, 130], [130, 130]]) // prettier-ignore
})

it('restarts with a file, and keeps the total that it reported', () => {
  const events: [number, number][] = []
  const tracker = new LoadTracker(({ done, total }) => events.push([done, total]), undefined)
  tracker.begin('weights', 100)
  tracker.advance('weights', 70)
  tracker.begin('weights', 50)
  tracker.advance('weights', 50)
  tracker.finish('weights')
  tracker.begin('empty', 0)
  tracker.finish('empty')
  tracker.complete()
  expect(events).toEqual([[70, 100], [50, 100], [100, 100], [100, 100]]) // prettier-ignore
})
