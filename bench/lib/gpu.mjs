import { createRequire } from 'node:module'

/**
 * WebGPU of this process: the engine's own, or Dawn's, put where the engine's would be. DAWN names the .node file of
 * npm's webgpu where the package is not installed.
 */
export function openWebGpu() {
  if (globalThis.navigator?.gpu) return navigator.gpu
  const { create, globals } = createRequire(import.meta.url)(process.env.DAWN ?? 'webgpu')
  Object.assign(globalThis, globals)
  const gpu = create(['disable-dawn-features=timestamp_quantization'])
  globalThis.navigator ??= {} // Node 20
  Object.defineProperty(navigator, 'gpu', { value: gpu, configurable: true })
  return gpu
}
