import type { LayerConfig } from './config.js'
import { BufferIndex } from '../../assembly/ir/header.js'
import {
  type FullSequencePlan,
  type FullSequencePrograms,
  planFullSequenceContext,
  writeFullSequencePrograms,
} from './full-sequence-plan.js'
import { type LayerCall, rotarySource } from './layer-call.js'
import { EVERY_ROW } from './ops/operands.js'
import { at } from '../program/operand.js'
import type { RotarySource } from './ops/rotary-ops.js'
import type { StandaloneWeights } from './memory/standalone-weights.js'

/** The plan of a layer with the published routing. */
export interface FullSequenceLayerPlan extends FullSequencePlan {
  readonly programs: FullSequencePrograms
}

export function planFullSequenceLayer(config: LayerConfig, parameters: StandaloneWeights, call: LayerCall): FullSequenceLayerPlan {
  const local: RotarySource = { kind: 'positions', frequencies: parameters.frequencies, width: config.dimHead }
  const plan = planFullSequenceContext(config, local, rotarySource(config, call.angleWidth), call.length, call.limits)
  const programs = writeFullSequencePrograms(plan, parameters.weights, {
    output: at(BufferIndex.Output),
    outputRows: EVERY_ROW,
    residual: false,
    trace: call.trace,
    activations: undefined,
  })
  return { ...plan, programs }
}
