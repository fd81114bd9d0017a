import { builtinModule } from '../../builtin-module.js'
import { reasonOf } from '../../errors.js'
import { WebGpuDevice } from './webgpu-device.js'

/** A usable GPU, or the reason why there is none. */
export type OpenedWebGpu =
  | { readonly device: WebGpuDevice; readonly adapter: string; readonly fallback: boolean; readonly unavailable?: undefined }
  | { readonly device?: undefined; readonly unavailable: string }

/**
 * Rows per chunk. Larger chunks mean fewer launches; on a CPU emulating a GPU, launches matter less and chunks should
 * be short.
 */
const CHUNK_ROWS = { gpu: 8192, processor: 128 }

/** Dawn, created once and kept: its devices do not keep it alive, and the process crashes if they outlive it. */
let dawn: GPU | undefined

/** Requested if the adapter supports them. Limits stay at WebGPU's defaults. */
const FEATURES: readonly GPUFeatureName[] = ['subgroups']

/** The default limits that kernels and programs rely on; a compatibility-level adapter may offer less. */
const LEAST = {
  maxStorageBuffersPerShaderStage: 8,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupStorageSize: 16384,
  maxComputeWorkgroupsPerDimension: 65535,
} as const satisfies Partial<Record<keyof GPUSupportedLimits, number>>

/** The engine's WebGPU, or else that of the npm package `webgpu`. */
async function findGpu(): Promise<GPU | undefined> {
  const { navigator } = globalThis as { navigator?: { gpu?: GPU | null } }
  if (navigator?.gpu) return navigator.gpu
  if (dawn || !builtinModule('node:fs')) return dawn
  // A computed name, so that bundlers do not resolve it: installing the package is up to the user
  const name = 'webgpu'
  try {
    const { create } = (await import(/* webpackIgnore: true */ /* @vite-ignore */ name)) as { create(options: string[]): GPU }
    return (dawn ??= create([]))
  } catch {
    return undefined
  }
}

function nameOf({ vendor, architecture, device, description }: GPUAdapterInfo): string {
  return description || [vendor, architecture, device].filter(Boolean).join(' ') || 'an adapter without a name'
}

/** Whether an adapter is software, according to its flag or the name of one of the two software drivers. */
function isProcessor(adapter: GPUAdapter): boolean {
  const { info } = adapter
  const flagged = info.isFallbackAdapter || (adapter as { isFallbackAdapter?: boolean }).isFallbackAdapter === true
  return flagged || /swiftshader|llvmpipe|software/i.test(`${info.architecture} ${info.device} ${info.description}`)
}

/** Describes the limits that are too small for the kernels. */
function shortfall(limits: GPUSupportedLimits): string | undefined {
  const names = Object.keys(LEAST) as (keyof typeof LEAST)[]
  const short = names.filter((name) => limits[name] < LEAST[name])
  return short.length === 0 ? undefined : short.map((name) => `${name} is ${limits[name]}, and ${LEAST[name]} is needed`).join('; ')
}

/** Requests an adapter, and a device within WebGPU's default limits. */
export async function openWebGpu(): Promise<OpenedWebGpu> {
  try {
    const gpu = await findGpu()
    if (!gpu) return { unavailable: 'this engine has no WebGPU (in Node, the package webgpu brings it)' }
    const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' })
    if (!adapter) return { unavailable: 'there is no adapter: no GPU, or no driver for it' }
    const fallback = isProcessor(adapter)
    const device = await adapter.requestDevice({ requiredFeatures: FEATURES.filter((feature) => adapter.features.has(feature)) })
    const short = shortfall(device.limits)
    if (short) {
      device.destroy()
      return { unavailable: `the limits of ${nameOf(adapter.info)} are too small: ${short}` }
    }
    return { device: new WebGpuDevice(device, fallback ? CHUNK_ROWS.processor : CHUNK_ROWS.gpu), adapter: nameOf(adapter.info), fallback }
  } catch (cause) {
    return { unavailable: `the GPU could not be opened: ${reasonOf(cause)}` }
  }
}
