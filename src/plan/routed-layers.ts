import type { ModelConfig } from './config.js'

/** Whether a block has routed attention besides local attention. */
export function isRouted({ routedLayers }: ModelConfig, block: number): boolean {
  return routedLayers === undefined || routedLayers.includes(block)
}

/** Number of blocks with routed attention. */
export function countRouted({ routedLayers, depth }: ModelConfig): number {
  return routedLayers?.length ?? depth
}
