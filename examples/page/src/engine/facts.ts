import type { LanguageModel, RuntimeInfo } from 'routed-attention'
import type { Facility, ModelFacts } from '../protocol.js'

export function factsOf(model: LanguageModel, name: string): ModelFacts {
  const { layer, depth, routedLayers, numTokens, maxPositions, quantization } = model.config
  return {
    name,
    parameters: model.numParameters,
    depth,
    heads: layer.heads,
    experts: layer.numExperts,
    queries: layer.numRoutedQueries,
    held: layer.numRoutedKeyValues,
    localWindow: layer.localAttnWindowSize,
    routedWindow: layer.routedWindowSize,
    routedLayers: routedLayers ?? Array.from({ length: depth }, (_, index) => index),
    vocabulary: numTokens,
    maxPositions,
    causal: layer.causal,
    quantized: quantization !== undefined,
    threads: model.runtime.info.threads,
    facilities: facilitiesOf(model.runtime.info),
  }
}

/** What this browser offers, what of it is used, and why not more. */
function facilitiesOf({ device, adapter, simd, fused, threads, kernels, unavailable }: RuntimeInfo): Facility[] {
  const cores = navigator.hardwareConcurrency
  return [
    {
      name: 'Computes on',
      used: device === 'webgpu' ? `the graphics card (${adapter ?? 'WebGPU'})` : 'the processor, in WebAssembly',
      reason: unavailable.webgpu ?? (device === 'wasm' ? 'a graphics card: a model this small is faster here' : ''),
    },
    { name: 'Vector instructions', used: simd === 'relaxed' ? 'relaxed SIMD' : 'baseline SIMD', reason: unavailable.relaxed ?? '' },
    {
      name: 'Multiply and add',
      used: fused ? 'in one instruction' : 'in two instructions',
      reason: fused ? '' : 'this processor, or the build for it, has no fused multiply-add',
    },
    {
      name: 'Threads',
      used: `${threads} of ${cores} ${cores === 1 ? 'core' : 'cores'}`,
      reason: unavailable.threads ?? (threads === 1 && cores > 1 ? 'one was asked for in the address' : ''),
    },
    { name: 'Kernels, timed at the start', used: Object.values(kernels).join(', '), reason: unavailable.tile ?? '' },
  ]
}
