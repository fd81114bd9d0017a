/** Runtimes on every build of the kernels: those in the package, and the same compiled with assertions. */
import { readFileSync } from 'node:fs'
import { type GpuUse, Runtime } from '../../src/device/runtime.js'
import { openBuild } from '../../src/device/wasm/builds.js'

export type BuildName = 'baseline' | 'relaxed' | 'checked-baseline' | 'checked-relaxed'

export const releaseBuilds: readonly BuildName[] = ['baseline', 'relaxed']
export const allBuilds: readonly BuildName[] = ['baseline', 'relaxed', 'checked-baseline', 'checked-relaxed']

const builds = new WeakMap<Runtime, BuildName>()

/** The build of a runtime that `openRuntime` opened. */
export function buildOf(runtime: Runtime): BuildName {
  return builds.get(runtime)!
}

/** @param partitions number of partitions that each op is divided into */
export function openRuntime(name: BuildName, partitions = 1, gpu?: GpuUse): Runtime {
  const module = new WebAssembly.Module(readFileSync(new URL(`../../build/${name}.wasm`, import.meta.url)))
  const runtime = new Runtime(openBuild(name.endsWith('relaxed') ? 'relaxed' : 'baseline', module), {}, partitions, gpu)
  builds.set(runtime, name)
  return runtime
}
