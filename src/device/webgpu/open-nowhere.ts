/* Replaces `open.ts` in the package's `workerd` entry: edge workers have no WebGPU and should be small. */
import type { OpenedWebGpu } from './open.js'

export function openWebGpu(): Promise<OpenedWebGpu> {
  return Promise.resolve({ unavailable: 'this engine has no WebGPU: edge workers have none' })
}
