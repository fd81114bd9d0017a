/** Where drawn layers run. */
import fc from 'fast-check'
import { type ForwardOptions, type LayerTrace, MixtureOfAutoregressiveAttention } from '../../src/model/layer.js'
import type { Runtime } from '../../src/device/runtime.js'
import type { Tensor } from '../../src/tensor.js'
import { type DrawnCase, type DrawnOptions, makeParameters } from './arbitraries.js'
import { allBuilds, type BuildName, openRuntime } from './runtimes.js'

/** A build, and how many partitions it cuts steps into. */
export interface Place {
  readonly build: BuildName
  readonly partitions: number
}

/** Builds as they ship and checked ones, on one partition and on several. */
export const places: fc.Arbitrary<Place> = fc.record({ build: fc.constantFrom(...allBuilds), partitions: fc.constantFrom(1, 3) })

const opened = new Map<string, Runtime>()

/** The runtime of a place, one for the whole file: what one case leaves in memory, the next one meets. */
export function runtimeOf({ build, partitions }: Place): Runtime {
  const key = `${build} ${partitions}`
  const runtime = opened.get(key) ?? openRuntime(build, partitions)
  opened.set(key, runtime)
  return runtime
}

/** Makes the drawn layer, lets `use` work with it, and disposes of it. */
export async function withLayer<T>(
  runtime: Runtime,
  options: DrawnOptions,
  seed: number,
  use: (layer: MixtureOfAutoregressiveAttention) => Promise<T>,
): Promise<T> {
  const layer = new MixtureOfAutoregressiveAttention(runtime, options)
  try {
    layer.loadStateDict(makeParameters(options, seed))
    return await use(layer)
  } finally {
    layer.dispose()
  }
}

export function traced(place: Place, { options, call }: DrawnCase, x: Tensor, forward: ForwardOptions): Promise<LayerTrace> {
  return withLayer(runtimeOf(place), options, call.seed, (layer) => layer.forward(x, { ...forward, trace: true }))
}
