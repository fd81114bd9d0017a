import { describe, expect, test, vi } from 'vitest'
import { createRuntime } from '../../src/device/create-runtime.js'
import { expectRejects } from '../support/errors.js'
import { isEmptyRecord, makeLayer, misfits, strangers, x } from '../support/small-layers.js'

// Time is no promise of these tests: the machine may be busy.

describe('createRuntime', () => {
  test.each(strangers)('rejects %s as its options', async (_name, value) => {
    if (isEmptyRecord(value)) await (await createRuntime(value)).dispose()
    else await expectRejects(createRuntime(value as never), typeof value === 'object' && value !== null ? 'BAD_CONFIG' : 'BAD_ARGUMENT')
  })

  test.each([['null', null] as const, ...misfits])('rejects %s as an option', async (_name, value) => {
    for (const name of ['device', 'threads', 'simd', 'revectorize', 'wasm', 'worker', 'signal']) {
      if (name === 'wasm' && ArrayBuffer.isView(value)) continue // bytes, if not of a module
      await expectRejects(createRuntime({ [name]: value }), 'BAD_CONFIG', new RegExp(name))
    }
  })

  test('rejects unknown options and invalid numbers of threads', async () => {
    await expectRejects(createRuntime({ thread: 1 } as never), 'BAD_CONFIG', /"thread".*threads/)
    for (const threads of [0, -1, 1.5, Infinity, 2 ** 40, '4'])
      await expectRejects(createRuntime({ threads } as never), 'BAD_CONFIG', /threads/)
    for (const device of ['', 'gpu', 'WASM']) await expectRejects(createRuntime({ device } as never), 'BAD_CONFIG', /device/)
    for (const simd of ['', 'sse', 'Relaxed']) await expectRejects(createRuntime({ simd } as never), 'BAD_CONFIG', /simd/)
  })

  test('rejects WebAssembly modules that are not of this package', async () => {
    const empty = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0)
    const unreadable = [new Uint8Array(0), Uint8Array.of(1, 2, 3), empty.subarray(0, 5), new URL('file:///nowhere/at/all.wasm')]
    for (const wasm of unreadable) await expectRejects(createRuntime({ wasm }), 'BAD_FILE', /wasm/i)
    for (const wasm of [empty, new WebAssembly.Module(empty)]) await expectRejects(createRuntime({ wasm }), 'UNSUPPORTED', /build/)
  })

  test('rejects a module that exports only part of what a build does', async () => {
    const onlyFused = [
      0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 127, 3, 2, 1, 0, 7, 9, 1, 5, 102, 117, 115, 101, 100, 0, 0, 10, 6, 1, 4, 0, 65, 0, 11,
    ]
    await expectRejects(createRuntime({ wasm: Uint8Array.from(onlyFused) }), 'UNSUPPORTED', /exports no run/)
  })

  test('rejects with the reason of its signal', async () => {
    const reason = { why: 'not now' }
    await expect(createRuntime({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    const controller = new AbortController()
    const pending = createRuntime({ signal: controller.signal })
    controller.abort(reason)
    await expect(pending).rejects.toBe(reason)
  })

  test('falls back and says why, except from a device that was requested by name', async () => {
    vi.stubEnv('VK_DRIVER_FILES', 'no driver') // on Linux, this hides the machine's GPU
    using runtime = await createRuntime({ device: 'auto', threads: 5, revectorize: true, simd: 'auto' })
    expect((await makeLayer(runtime).forward(x)).shape).toEqual(x.shape)
    expect(['baseline', 'relaxed']).toContain(runtime.info.simd)
    expect(runtime.info.threads).toBeGreaterThanOrEqual(1)
    using plain = await createRuntime({ simd: 'baseline' })
    expect(plain.info.simd).toBe('baseline')
    if (process.platform !== 'linux') return
    expect(runtime.info).toMatchObject({ device: 'wasm', unavailable: { webgpu: expect.stringMatching(/adapter|WebGPU/) as string } })
    await expectRejects(createRuntime({ device: 'webgpu' }), 'UNSUPPORTED', /WebGPU.*(adapter|package webgpu)/)
  })
})
