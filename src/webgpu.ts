/**
 * @packageDocumentation routed-attention with the GPU's part inside, for places that forbid `import()`, as service
 * workers do. Elsewhere the main entry does the same and loads that part only where a GPU is asked for.
 */
import { makeRuntime, type RuntimeOptions } from './device/create-runtime.js'
import type { Runtime } from './device/runtime.js'
import { openWebGpu } from './device/webgpu/open.js'

export * from './index.js'

/** `createRuntime` of the main entry, which imports nothing when it is called. */
export function createRuntime(options: RuntimeOptions = {}): Promise<Runtime> {
  return makeRuntime(options, () => Promise.resolve({ openWebGpu }))
}
