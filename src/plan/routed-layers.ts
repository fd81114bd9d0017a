import type { ModelConfig } from './config.js'

/** Whether a block of a model has a routed part. */
export function isRouted({ routedLayers }: ModelConfig, block: number): boolean {
  return routedLayers === undefined || routedLayers.includes(block)
}

/** How many blocks of a model are routed. */
export function countRouted({ routedLayers, depth }: ModelConfig): number {
  return routedLayers?.length ?? depth
}
