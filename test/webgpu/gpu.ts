/** A WebGPU adapter for tests in Node: Dawn on whatever Vulkan driver there is, or on Chromium's software one. */
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

/** Why tests of WebGPU do not run here, if they do not: where they must, that is a failure. */
export const noAdapter: string | undefined = adapter ? undefined : 'no WebGPU adapter here'
if (noAdapter && process.env.REQUIRE_WEBGPU) throw new Error(`${noAdapter}, and REQUIRE_WEBGPU is set`)

/** Likewise why subgroups are not tested here. */
export const noSubgroups: string | undefined = noAdapter ?? (adapter!.features.has('subgroups') ? undefined : 'no subgroups here')

const opened: GPUDevice[] = []

/** @param subgroups false: not even where the adapter has them */
export async function openDevice(pieceRows = 128, subgroups = !noSubgroups): Promise<WebGpuDevice> {
  return new WebGpuDevice(await openGpu(subgroups), pieceRows)
}

/**
 * A runtime that computes on the GPU.
 * @param replaceable whether the processor takes over when it is lost, and is compared with it before
 * @param on a GPU that others compute on too: its driver compiles each pipeline once
 */
export async function openGpuRuntime({
  pieceRows = 128,
  replaceable = false,
  on,
}: { pieceRows?: number; replaceable?: boolean; on?: GPUDevice } = {}): Promise<{ runtime: Runtime; device: WebGpuDevice }> {
  const device = new WebGpuDevice(on ?? (await openGpu()), pieceRows)
  return { runtime: openRuntime('relaxed', 1, { device, adapter: 'the tests’ adapter', replaceable }), device }
}

/** A device within WebGPU's default limits. An adapter gives one; whatever else it reports fails the tests. */
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
