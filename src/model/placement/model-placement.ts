import { atOnce, gradually } from '../../event-loop.js'
import type { Device, DeviceBuffer } from '../../device/device.js'
import type { Runtime } from '../../device/runtime.js'
import { checkStillThere } from '../../io/moved-bytes.js'
import type { StoredTensor } from '../../io/safetensors.js'
import type { ModelWeights } from '../../plan/memory/model-weights.js'
import { CausalExecutor } from '../executor/causal-executor.js'
import type { ModelConfig } from '../config/config.js'
import { FullSequenceExecutor } from '../executor/full-sequence-executor.js'
import type { Executor, Sequence } from '../executor/sequence.js'
import { storedValues } from '../parameters/stored-parameters.js'
import { DevicePlacement, type Installation } from './device-placement.js'
import { installOnQuickest } from './quickest-device.js'

/** A model's main workload: 'decode', one token after another, or 'prefill', long texts at once. */
export type Workload = 'decode' | 'prefill'

/** Tokens per measured step. */
const MEASURED_TOKENS: Readonly<Record<Workload, number>> = { decode: 1, prefill: 256 }
/** Number of measured steps, after one that builds the pipelines; the fastest counts. */
const MEASURED_STEPS = 3

/** The constituents of a model. */
interface ModelParts {
  readonly runtime: Runtime
  readonly config: ModelConfig
  readonly parameters: ModelWeights
  readonly tensors: ReadonlyMap<string, StoredTensor>
}

/** A model's weights on one device, and the executor that reads sequences with them. */
class InstalledModel implements Installation {
  readonly device: Device
  readonly executor: Executor
  readonly #weights: DeviceBuffer

  constructor(device: Device, executor: Executor, weights: DeviceBuffer) {
    this.device = device
    this.executor = executor
    this.#weights = weights
  }

  dispose(): void {
    this.executor.dispose()
    this.#weights.dispose()
  }
}

/** The placement of a model; devices are compared when it is loaded. */
export class ModelPlacement {
  readonly #placement: DevicePlacement<InstalledModel>

  private constructor(placement: DevicePlacement<InstalledModel>) {
    this.#placement = placement
  }

  /**
   * If there is a choice of devices, each runs a sample of the workload, and the fastest is chosen.
   * @param check called after yielding to the event loop; throws if the load should end
   * @throws RoutedAttentionError `OUT_OF_MEMORY`, or whatever the only device threw
   */
  static async create(parts: ModelParts, workload: Workload, check: () => void): Promise<ModelPlacement> {
    const { runtime } = parts
    const tokens = MEASURED_TOKENS[workload]
    const installed = await installOnQuickest(runtime, {
      install: (device) => gradually(install(parts, device), check),
      time: ({ executor }) => timeSteps(executor, tokens),
      work: tokens === 1 ? 'a token' : `${tokens} tokens`,
      check,
    })
    // the tensors are kept only if they may have to be packed again
    const isReplaceable = runtime.isReplaceable(installed.device)
    return new ModelPlacement(new DevicePlacement(runtime, installed, isReplaceable ? reinstaller(parts) : undefined))
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
  }
}

function reinstaller(parts: ModelParts): (device: Device) => InstalledModel {
  return (device) => atOnce(install(parts, device))
}

/**
 * @throws RoutedAttentionError `OUT_OF_MEMORY`; `BAD_FILE` if the caller has transferred the tensors' bytes away; or
 * whatever the device throws
 */
function* install({ config, parameters, tensors }: ModelParts, device: Device): Generator<void, InstalledModel> {
  checkStillThere(tensors)
  const weights = yield* device.packInParts(parameters.layout, (name) => storedValues(tensors, name))
  const executor = new (config.layer.causal ? CausalExecutor : FullSequenceExecutor)(device, config, parameters, weights)
  return new InstalledModel(device, executor, weights)
}

/** Milliseconds for this many tokens, after some others. */
async function timeSteps(executor: Executor, tokens: number): Promise<number> {
  const sequence = executor.createSequence()
  try {
    let best = Infinity
    for (let step = 0; step <= MEASURED_STEPS; step++) {
      const start = performance.now()
      const { commit } = await sequence.append(new Int32Array(tokens), { rows: 'last' }, () => undefined)
      if (step > 0) best = Math.min(best, performance.now() - start)
      commit()
    }
    return best
  } finally {
    sequence.dispose()
  }
}
