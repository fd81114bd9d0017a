/** Bytes that a caller moves, and files that change, while a model is loaded. */
import { mkdtempSync, openAsBlob, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Runtime } from '../../src/device/runtime.js'
import { RoutedAttentionError } from '../../src/errors.js'
import { nextMacrotask } from '../../src/event-loop.js'
import type { FileLike, ModelSource } from '../../src/io/read-options.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { expectError } from '../support/errors.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, smallModel, smallModelFiles } from '../support/small-models.js'

const WEIGHTS = 'model.safetensors'
const folder = mkdtempSync(join(tmpdir(), 'moved-'))
let runtime: Runtime
beforeAll(async () => {
  runtime = openRuntime('baseline')
  ;(await LanguageModel.load(files(), { runtime })).dispose() // what a runtime creates only once
})
afterAll(async () => {
  rmSync(folder, { recursive: true })
  await runtime.dispose()
})

const made = smallModelFiles(smallModel(causalConfig))
/** Each of a buffer of its own. */
const files = () => new Map([...made].map(([name, bytes]) => [name, new Uint8Array(bytes)]))

/**
 * Loads, and does something to the source after so many microtasks, and then so many turns of the event loop.
 * @returns whether it loaded
 */
async function loadWhile(source: ModelSource, microtasks: number, act: () => void, turns = 0): Promise<boolean> {
  const before = runtime.info.memory.used
  const loading = LanguageModel.load(source, { runtime })
  for (let i = 0; i < microtasks; i++) await Promise.resolve()
  for (let i = 0; i < turns; i++) await nextMacrotask()
  act()
  let error: unknown
  try {
    const model = await loading
    expect((await model.forward([1])).data.every(Number.isFinite)).toBe(true)
    model.dispose()
  } catch (thrown) {
    error = thrown
    expectError(error, 'BAD_FILE')
  }
  expect(runtime.info.memory.used).toBe(before)
  return error === undefined
}

describe('bytes in a Map', () => {
  it('that are transferred at any moment of a load give a model or BAD_FILE, and no leak', async () => {
    for (const name of made.keys()) {
      const loaded: boolean[] = []
      const transferAfter = async (microtasks: number, turns: number) => {
        const source = files()
        const { buffer } = source.get(name)!
        loaded.push(await loadWhile(source, microtasks, () => structuredClone(buffer, { transfer: [buffer] }), turns))
      }
      for (let microtasks = 0; microtasks < 60; microtasks++) await transferAfter(microtasks, 0)
      expect(loaded.at(0)).toBe(false)
      // on a slow machine a load gives way between its parts
      for (let turns = 1; !loaded.at(-1); turns++) await transferAfter(60, turns)
    }
  })

  it('whose buffer shrinks at any moment of a load, likewise', async () => {
    for (const isTracking of [false, true]) {
      for (let microtasks = 0; microtasks < 60; microtasks += 3) {
        const source = files()
        const bytes = source.get(WEIGHTS)!
        const buffer = new (
          ArrayBuffer as unknown as new (length: number, options: object) => ArrayBuffer & { resize(length: number): void }
        )(bytes.length, { maxByteLength: bytes.length })
        new Uint8Array(buffer).set(bytes)
        source.set(WEIGHTS, isTracking ? new Uint8Array(buffer) : new Uint8Array(buffer, 0, bytes.length))
        await loadWhile(source, microtasks, () => buffer.resize(100))
      }
    }
  })

  it('are named, with advice', async () => {
    const source = files()
    const loading = LanguageModel.load(source, { runtime })
    structuredClone(0, { transfer: [source.get(WEIGHTS)!.buffer] })
    const error: unknown = await loading.catch((error: unknown) => error)
    expectError(error, 'BAD_FILE', /the bytes of model\.safetensors are gone: their buffer was transferred.*pass a copy/)
  })
})

describe('a file that was picked', () => {
  /**
   * As a browser has it: bytes are read from the disk on request, and refused once the file has changed.
   */
  async function picked(): Promise<FileLike[]> {
    const list: FileLike[] = []
    for (const [name, bytes] of made) {
      writeFileSync(join(folder, name), bytes)
      const blob = await openAsBlob(join(folder, name))
      list.push({ name, size: blob.size, arrayBuffer: () => blob.arrayBuffer(), slice: (start, end) => blob.slice(start, end) })
    }
    return list
  }

  it.each<[string, () => void]>([
    ['changed', () => writeFileSync(join(folder, WEIGHTS), new Uint8Array(5))],
    ['emptied', () => truncateSync(join(folder, WEIGHTS), 0)],
    ['removed', () => rmSync(join(folder, WEIGHTS))],
  ])('and was %s since is rejected with BAD_FILE, without a leak', async (_, change) => {
    for (const microtasks of [0, 5, 30]) await loadWhile(await picked(), microtasks, change)
    const list = await picked()
    change()
    const error: unknown = await LanguageModel.load(list, { runtime }).catch((error: unknown) => error)
    expect(error).toBeInstanceOf(RoutedAttentionError)
    expectError(error, 'BAD_FILE', /cannot read model\.safetensors.*pick it again/)
  })
})

describe('a file of a folder', () => {
  it('that is truncated while it is read is rejected with BAD_FILE, without a leak', async () => {
    for (const turns of [0, 1, 2, 3, 5, 8]) {
      for (const [name, bytes] of made) writeFileSync(join(folder, name), bytes)
      const before = runtime.info.memory.used
      const loading = LanguageModel.load(folder, { runtime }).then((model) => model.dispose(), (error: unknown) => expectError(error, 'BAD_FILE')) // prettier-ignore
      for (let i = 0; i < turns; i++) await new Promise(setImmediate)
      truncateSync(join(folder, WEIGHTS), 1000)
      await loading
      expect(runtime.info.memory.used).toBe(before)
    }
  })
})
