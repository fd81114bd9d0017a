/** A WebGPU adapter for tests in Node: Dawn on any Vulkan driver that is installed, or on Chromium's software one. */
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import type { Runtime } from '../../src/device/runtime.js'
import { create, globals } from 'webgpu'
import { WebGpuDevice } from '../../src/device/webgpu/webgpu-device.js'
import { openRuntime } from '../support/runtimes.js'

/** Where Debian's Chromium keeps its software driver. */
const SWIFTSHADER = '/usr/lib/chromium/libvk_swiftshader.so'

/** Points the Vulkan loader at the software driver, unless one is named already. */
function useSoftwareDriver(): void {
  if (process.env.VK_DRIVER_FILES || !existsSync(SWIFTSHADER)) return
  const file = join(mkdtempSync(join(tmpdir(), 'vulkan-')), 'driver.json')
  writeFileSync(file, JSON.stringify({ file_format_version: '1.0.0', ICD: { library_path: SWIFTSHADER, api_version: '1.1.0' } }))
  process.env.VK_DRIVER_FILES = file
}

useSoftwareDriver()
Object.assign(globalThis, globals)
const gpu = create([])
const adapter = await gpu.requestAdapter()

/** Why tests of WebGPU are skipped, if they are; with REQUIRE_WEBGPU that is a failure. */
export const noAdapter: string | undefined = adapter ? undefined : 'no WebGPU adapter here'
if (noAdapter && process.env.REQUIRE_WEBGPU) throw new Error(`${noAdapter}, and REQUIRE_WEBGPU is set`)

/** Likewise why tests of subgroups are skipped. */
export const noSubgroups: string | undefined = noAdapter ?? (adapter!.features.has('subgroups') ? undefined : 'no subgroups here')

const opened: GPUDevice[] = []

interface DeviceOptions {
  readonly chunkRows?: number
  /** Maximum bytes of a binding; default: the adapter's limit. */
  readonly partBytes?: number | undefined
  /** False: not used even if the adapter has them. */
  readonly subgroups?: boolean
  /** A GPU shared with other devices, so that its driver compiles each pipeline once. */
  readonly on?: GPUDevice
}

export async function openDevice({ chunkRows = 128, partBytes, subgroups, on }: DeviceOptions = {}): Promise<WebGpuDevice> {
  return new WebGpuDevice(on ?? (await openGpu(subgroups)), chunkRows, partBytes)
}

/**
 * A runtime that computes on the GPU.
 * @param replaceable whether the processor takes over if it is lost, and competes with it before
 */
export async function openGpuRuntime({ replaceable = false, ...options }: DeviceOptions & { replaceable?: boolean } = {}): Promise<{
  runtime: Runtime
  device: WebGpuDevice
}> {
  const device = await openDevice(options)
  return { runtime: openRuntime('relaxed', 1, { device, adapter: 'the tests’ adapter', replaceable }), device }
}

/** A device within WebGPU's default limits. Errors that it reports fail the tests. */
export async function openGpu(subgroups = !noSubgroups): Promise<GPUDevice> {
  const fresh = await gpu.requestAdapter()
  const device = await fresh!.requestDevice({ requiredFeatures: subgroups ? ['subgroups'] : [] })
  device.onuncapturederror = ({ error }) => {
    throw new Error(`WebGPU reports: ${error.message}`)
  }
  opened.push(device)
  return device
}

// an open device keeps the process alive
afterAll(() => opened.splice(0).forEach((device) => device.destroy()))
