import { getEventListeners } from 'node:events'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { readModelFiles, type ReadOptions } from '../../src/io/model-files.js'
import { singleFileModel } from '../support/model-folder.js'
import { type Behaviour, ModelServer } from '../support/model-server.js'
import { safetensorsOf } from '../support/write-safetensors.js'

vi.mock('../../src/io/sources/delay.js', () => ({ delay: async () => {} }))

const MEBIBYTE = 2 ** 20
const BODY = 24 * MEBIBYTE
const header = `{"weight":{"dtype":"U8","shape":[${BODY}],"data_offsets":[0,${BODY}]}}`

let server: ModelServer
let weights: Uint8Array
beforeAll(async () => {
  server = await ModelServer.start()
  weights = safetensorsOf(header, new Uint8Array(BODY))
})
afterAll(() => server.stop())
beforeEach(() => server.reset(new Map([...singleFileModel(), ['model.safetensors', weights]])))

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/**
 * Bytes of buffers that something still refers to: what has been freed may take a few turns to be counted so.
 * @param enough what ends the wait; by default, a few turns
 */
async function heldBytes(enough?: number): Promise<number> {
  let held = Infinity
  for (let i = 0; enough === undefined ? i < 5 : held >= enough && i < 300; i++) {
    collectGarbage()
    await new Promise((resolve) => setTimeout(resolve, 10))
    held = Math.min(held, process.memoryUsage().arrayBuffers)
  }
  return held
}

const inPieces = { pieces: MEBIBYTE }
const twoThirds = 16 * MEBIBYTE
const failures: [string, Behaviour, ReadOptions?][] = [
  ['the connection always drops', { ...inPieces, drop: twoThirds, ranges: false }],
  ['the rest that comes is not the rest', { ...inPieces, drop: twoThirds, contentRange: `bytes 0-${BODY - 1}/${BODY}` }],
  ['too little comes', { ...inPieces, chunked: true, bytes: safetensorsOf(header, new Uint8Array(twoThirds)) }],
  ['too much comes', { ...inPieces, chunked: true, bytes: safetensorsOf(header, new Uint8Array(BODY + 1)), hang: true }],
  ['the digest is another', inPieces, { integrity: { 'model.safetensors': '0'.repeat(64) } }],
  ['onProgress throws', inPieces, { onProgress: ({ done }) => { if (done > twoThirds) throw new Error('enough') } }], // prettier-ignore
]

describe('a failed load leaves nothing behind', () => {
  it.each(failures)('when %s: no connection, no listener, no memory', async (_, behaviour, options) => {
    server.behave = (name) => (name === 'model.safetensors' ? behaviour : {})
    const { signal } = new AbortController()
    const before = await heldBytes()
    // The errors are held on to, as a program may that logs them.
    const errors: unknown[] = []
    for (let i = 0; i < 2; i++) await readModelFiles(server.folder, { signal, ...options }).catch((error: unknown) => errors.push(error))
    expect(errors).toHaveLength(2)
    await server.idle()
    expect(getEventListeners(signal, 'abort')).toEqual([])
    const limit = before + 4 * MEBIBYTE
    expect(await heldBytes(limit)).toBeLessThan(limit)
    expect(errors.every((error) => error instanceof Error)).toBe(true)
  })

  it('when it is cancelled: no connection, no listener, no memory', async () => {
    server.behave = (name) => (name === 'model.safetensors' ? { ...inPieces, bytes: weights.subarray(0, -1), contentLength: weights.length, hang: true } : {}) // prettier-ignore
    const before = await heldBytes()
    const controller = new AbortController()
    const onProgress = ({ done }: { done: number }) => done > twoThirds && setTimeout(() => controller.abort('enough'))
    await expect(readModelFiles(server.folder, { signal: controller.signal, onProgress })).rejects.toBe('enough')
    await server.idle()
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
    const limit = before + 4 * MEBIBYTE
    expect(await heldBytes(limit)).toBeLessThan(limit)
  })

  it('while a successful one leaves exactly the model (a check of this test)', async () => {
    const before = await heldBytes()
    const files = await readModelFiles(server.folder)
    expect((await heldBytes()) - before).toBeGreaterThan(BODY - 4 * MEBIBYTE)
    expect(files.tensors.get('weight')!.bytes).toHaveLength(BODY)
  })
})
