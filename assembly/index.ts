export { pack, packInt8 } from './pack'
export { resume, run } from './program'
export { fused } from './probe'
export { isFiniteFloat16, mixBlocks } from './scan'

/** First address after the build's own constants: the host's arena starts here. */
export function heapBase(): usize {
  return __heap_base
}
