/**
 * @packageDocumentation routed-attention with the WebGPU backend bundled in, for environments that forbid `import()`,
 * such as service workers. Elsewhere use the main entry, which loads that backend only when a GPU is requested.
 */
import { makeRuntime, type RuntimeOptions } from './device/create-runtime.js'
import type { Runtime } from './device/runtime.js'
import { openWebGpu } from './device/webgpu/open.js'

export * from './index.js'

/** Same as `createRuntime` of the main entry, but imports nothing when called. */
export function createRuntime(options: RuntimeOptions = {}): Promise<Runtime> {
  return makeRuntime(options, () => Promise.resolve({ openWebGpu }))
}
