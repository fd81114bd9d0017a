import type { LayerConfig } from './config.js'
import { BufferIndex } from '../../assembly/ir/header.js'
import type { PlanLimits } from './geometry.js'
import type { RotarySource } from './ops/rotary-ops.js'
import { at } from '../program/operand.js'

/** What the programs of a layer depend on besides its options. */
export interface LayerCall {
  /** Tokens in the longest sequence. */
  readonly length: number
  /** Width of the caller's angles: `dimHead` or `heads · dimHead`; undefined without angles. */
  readonly angleWidth: number | undefined
  readonly trace: boolean
  readonly limits: PlanLimits
}

/** Where routed attention gets its angles from: the caller, if anywhere. */
export function rotarySource({ dimHead }: LayerConfig, angleWidth: number | undefined): RotarySource | undefined {
  if (angleWidth === undefined) return undefined
  return { kind: 'angles', angles: at(BufferIndex.Angles), width: angleWidth, angleStride: angleWidth === dimHead ? 0 : dimHead }
}
