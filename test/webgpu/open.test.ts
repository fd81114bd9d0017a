/* What engines may offer in place of a GPU, and what a runtime says of it. */
import { afterEach, describe, expect, test, vi } from 'vitest'
import { createRuntime } from '../../src/device/create-runtime.js'
import { expectRejects } from '../support/errors.js'

const limits = {
  maxStorageBuffersPerShaderStage: 8,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupStorageSize: 16384,
  maxComputeWorkgroupsPerDimension: 65535,
}

/** An engine's `navigator`, with one adapter or none. */
function offer(adapter: object | null): void {
  vi.stubGlobal('navigator', { gpu: { requestAdapter: () => Promise.resolve(adapter) } })
}

afterEach(() => vi.unstubAllGlobals())

describe.each([
  ['no adapter', null, /there is no adapter/],
  [
    'limits below the defaults',
    {
      info: { vendor: 'acme', architecture: 'one', device: '', description: '' },
      features: new Set(),
      requestDevice: () => Promise.resolve({ limits: { ...limits, maxStorageBuffersPerShaderStage: 4 }, destroy: () => undefined }),
    },
    /the limits of acme one are too small: maxStorageBuffersPerShaderStage is 4, and 8 is needed/,
  ],
  [
    'an adapter that gives no device',
    { info: {}, features: new Set(), requestDevice: () => Promise.reject(new Error('not today')) },
    /the GPU could not be opened: not today/,
  ],
])('with %s', (_name, adapter, reason) => {
  test("'auto' falls back to WebAssembly and says why", async () => {
    offer(adapter)
    await using runtime = await createRuntime({ device: 'auto', threads: 1 })
    expect(runtime.info).toMatchObject({ device: 'wasm', unavailable: { webgpu: expect.stringMatching(reason) as string } })
  })

  test("'webgpu' fails with the reason", async () => {
    offer(adapter)
    await expectRejects(createRuntime({ device: 'webgpu', threads: 1 }), 'UNSUPPORTED', reason)
  })
})
