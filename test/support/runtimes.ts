/**
 * Runtimes on every build of the kernels: those that ship, and those compiled with assertions, which the package does
 * not hold.
 */
import { readFileSync } from 'node:fs'
import { type GpuUse, Runtime } from '../../src/device/runtime.js'
import { openBuild } from '../../src/device/wasm/builds.js'

export type BuildName = 'baseline' | 'relaxed' | 'checked-baseline' | 'checked-relaxed'

export const releaseBuilds: readonly BuildName[] = ['baseline', 'relaxed']
export const allBuilds: readonly BuildName[] = ['baseline', 'relaxed', 'checked-baseline', 'checked-relaxed']

/** @param partitions how many partitions each step is cut into */
export function openRuntime(name: BuildName, partitions = 1, gpu?: GpuUse): Runtime {
  const module = new WebAssembly.Module(readFileSync(new URL(`../../build/${name}.wasm`, import.meta.url)))
  return new Runtime(openBuild(name.endsWith('relaxed') ? 'relaxed' : 'baseline', module), {}, partitions, gpu)
}
