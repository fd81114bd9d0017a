import type { Device, DeviceBuffer } from '../../device/device.js'
import type { Runtime } from '../../device/runtime.js'
import type { ModelWeights } from '../../plan/memory/model-weights.js'
import { CausalExecutor } from '../executor/causal-executor.js'
import type { ModelConfig } from '../config/config.js'
import { FullSequenceExecutor } from '../executor/full-sequence-executor.js'
import type { Executor, Sequence } from '../executor/sequence.js'
import { DevicePlacement, type Installation } from './device-placement.js'

/** A model's weights on one device, and the executor that reads sequences with them. */
export class InstalledModel implements Installation {
  readonly device: Device
  readonly executor: Executor
  readonly #weights: SharedWeights

  /** @param weights held until `dispose` */
  constructor(device: Device, config: ModelConfig, weights: SharedWeights) {
    this.device = device
    this.executor = new (config.layer.causal ? CausalExecutor : FullSequenceExecutor)(device, config, weights.plan, weights.buffer)
    this.#weights = weights.retain()
  }

  dispose(): void {
    this.executor.dispose()
    this.#weights.dispose()
  }
}

/** Packed weights with several holders. */
export class SharedWeights {
  readonly plan: ModelWeights
  readonly buffer: DeviceBuffer
  #holders = 1

  constructor(plan: ModelWeights, buffer: DeviceBuffer) {
    this.plan = plan
    this.buffer = buffer
  }

  /** Adds a holder, who must dispose of it too. */
  retain(): this {
    this.#holders++
    return this
  }

  dispose(): void {
    if (--this.#holders === 0) this.buffer.dispose()
  }
}

/** What takes over if a model's device is lost. */
export interface Standby {
  /** @throws RoutedAttentionError `OUT_OF_MEMORY`, or whatever else kept the weights from being there */
  install(device: Device): InstalledModel
  dispose(): void
}

/** The placement of a model; devices are compared when it is loaded. */
export class ModelPlacement {
  readonly #placement: DevicePlacement<InstalledModel>
  readonly #standby: Standby | undefined

  /** @param standby needed if the device is replaceable */
  constructor(runtime: Runtime, installed: InstalledModel, standby: Standby | undefined) {
    this.#placement = new DevicePlacement(runtime, installed, standby && ((device) => standby.install(device)))
    this.#standby = standby
  }

  get executor(): Executor {
    return this.#placement.current.executor
  }

  /** The sequence itself, or its continuation on the model's current device. */
  migrate(sequence: Sequence): Sequence {
    const { executor } = this
    if (sequence.executor === executor) return sequence
    const moved = executor.restoreSequence(sequence.position, sequence.save())!
    sequence.dispose()
    return moved
  }

  dispose(): void {
    this.#placement.dispose()
    this.#standby?.dispose()
  }
}
