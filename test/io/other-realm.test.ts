/** What is given to `load` by code of another realm, whose classes are none of ours. */
import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { readModelFiles } from '../../src/io/model-files.js'
import type { FileLike } from '../../src/io/read-options.js'
import type { Signal } from '../../src/platform.js'
import { expectRejects } from '../support/errors.js'
import { fetchOf } from '../support/file-fetch.js'
import { expectModel, shardedModel, singleFileModel } from '../support/model-folder.js'

interface Realm {
  Uint8Array: Uint8ArrayConstructor
  Map: MapConstructor
  Array: ArrayConstructor
  Error: ErrorConstructor
  TypeError: TypeErrorConstructor
}
const realm = runInNewContext('({ Uint8Array, Map, Array, Error, TypeError })') as Realm

const foreign = (bytes: Uint8Array) => realm.Uint8Array.from(bytes)
const foreignFiles = (files: Map<string, Uint8Array>) => new realm.Map([...files].map(([name, bytes]) => [name, foreign(bytes)]))

/** As jsdom has classes of its own. */
class OtherUrl {
  readonly #url: URL
  readonly searchParams = {}
  constructor(url: string) {
    this.#url = new URL(url)
  }
  get href() {
    return this.#url.href
  }
  get protocol() {
    return this.#url.protocol
  }
  get pathname() {
    return this.#url.pathname
  }
}

class OtherSignal {
  aborted = false
  reason: unknown = undefined
  readonly listeners = new Set<() => void>()
  throwIfAborted() {
    if (this.aborted) throw this.reason
  }
  addEventListener(_: string, listener: () => void) {
    this.listeners.add(listener)
  }
  removeEventListener(_: string, listener: () => void) {
    this.listeners.delete(listener)
  }
  abort(reason: unknown) {
    this.aborted = true
    this.reason = reason
    for (const listener of [...this.listeners]) listener()
  }
}
const otherSignal = () => new OtherSignal() as OtherSignal & Signal

describe('values of another realm are recognized', () => {
  it('a Map and its bytes', async () => {
    expect(foreign(new Uint8Array(2))).not.toBeInstanceOf(Uint8Array)
    for (const model of [singleFileModel(), shardedModel()]) expectModel(await readModelFiles(foreignFiles(model)))
  })

  it('a list of files, and what they are read as', async () => {
    const list = realm.Array.from(
      [...singleFileModel()].map(([name, bytes]): FileLike => {
        const { buffer } = foreign(bytes)
        const arrayBuffer = async () => buffer
        return { name, size: bytes.length, arrayBuffer, slice: (start, end) => ({ arrayBuffer: async () => buffer.slice(start, end) }) } // prettier-ignore
      }),
    )
    expectModel(await readModelFiles(list))
  })

  it('a URL, and the bytes of a body', async () => {
    const url = new OtherUrl('https://models.example/novels') as unknown as URL
    const { fetch } = fetchOf(singleFileModel(), (_, bytes) => {
      const start = (controller: ReadableStreamDefaultController) => {
        controller.enqueue(foreign(bytes!))
        controller.close()
      }
      return bytes && new Response(new ReadableStream({ start }))
    })
    expectModel(await readModelFiles(url, { fetch }))
    const folder = new OtherUrl(new URL('../../models/novels-10m', import.meta.url).href) as unknown as URL
    expect((await readModelFiles(folder)).tensors.size).toBeGreaterThan(10)
    await expectRejects(readModelFiles(new OtherUrl('ftp://models.example') as unknown as URL), 'BAD_ARGUMENT', /got ftp:/)
    const none = { href: 'no URL', protocol: 'http:', pathname: '/', searchParams: {} }
    await expectRejects(readModelFiles(none as never), 'BAD_ARGUMENT', /"no URL" is not a URL/)
  })

  it('a signal, on which no listener stays', async () => {
    const signal = otherSignal()
    const loading = readModelFiles(new URL('https://models.example'), { fetch: () => new Promise(() => {}), signal })
    await new Promise(setImmediate)
    signal.abort('enough')
    await expect(loading).rejects.toBe('enough')
    expect(signal.listeners.size).toBe(0)
    const unused = otherSignal()
    expectModel(await readModelFiles(new URL('https://models.example'), { fetch: fetchOf(singleFileModel()).fetch, signal: unused }))
    expect(unused.listeners.size).toBe(0)
  })

  it('an error, whose message is reported', async () => {
    const fetch = () => Promise.reject(new realm.TypeError('Failed to fetch'))
    await expectRejects(readModelFiles(new URL('https://models.example'), { fetch }), 'NETWORK', /: Failed to fetch; .*CORS/)
  })
})
