export { pack } from './pack'
export { proceed, run } from './program'
export { fused } from './probe'
export { isFiniteFloat16, mixBlocks } from './scan'

/** First address that the build's own constants do not use: the host's arena starts here. */
export function heapBase(): usize {
  return __heap_base
}
