import { atOnce, gradually } from '../../event-loop.js'
import type { Device, DeviceBuffer } from '../../device/device.js'
import type { Runtime } from '../../device/runtime.js'
import { checkStillThere } from '../../io/moved-bytes.js'
import type { StoredTensor } from '../../io/safetensors.js'
import type { ModelParameters } from '../../plan/memory/model-parameters.js'
import { CausalEngine } from '../engine/causal-engine.js'
import type { ModelConfig } from '../config/config.js'
import { FullSequenceEngine } from '../engine/full-sequence-engine.js'
import type { Engine, Sequence } from '../engine/sequence.js'
import { storedValues } from '../parameters/stored-parameters.js'
import { DevicePlacement, type Installation } from './device-placement.js'
import { installOnQuickest } from './quickest-device.js'

/** What a model will mostly do: one token after the other, or long texts at once. */
export type Workload = 'decode' | 'prefill'

/** Tokens of one measured step. */
const MEASURED_TOKENS: Readonly<Record<Workload, number>> = { decode: 1, prefill: 256 }
/** Steps that are measured, after one that makes the pipelines; the quickest counts. */
const MEASURED_STEPS = 3

/** What a model is made of. */
interface ModelParts {
  readonly runtime: Runtime
  readonly config: ModelConfig
  readonly parameters: ModelParameters
  readonly tensors: ReadonlyMap<string, StoredTensor>
}

/** A model's weights on one device, and what reads sequences with them. */
class InstalledModel implements Installation {
  readonly device: Device
  readonly engine: Engine
  readonly #weights: DeviceBuffer

  constructor(device: Device, engine: Engine, weights: DeviceBuffer) {
    this.device = device
    this.engine = engine
    this.#weights = weights
  }

  dispose(): void {
    this.engine.dispose()
    this.#weights.dispose()
  }
}

/** Where a model lives; devices are compared when it is loaded. */
export class ModelPlacement {
  readonly #placement: DevicePlacement<InstalledModel>

  private constructor(placement: DevicePlacement<InstalledModel>) {
    this.#placement = placement
  }

  /**
   * Where there is a choice of devices, each does some of the workload, and the quickest is taken.
   * @param check called when the event loop has turned: throws when the load should end
   * @throws RoutedAttentionError `OUT_OF_MEMORY`, or whatever the only device threw
   */
  static async create(parts: ModelParts, workload: Workload, check: () => void): Promise<ModelPlacement> {
    const { runtime } = parts
    const tokens = MEASURED_TOKENS[workload]
    const installed = await installOnQuickest(runtime, {
      install: (device) => gradually(install(parts, device), check),
      time: ({ engine }) => timeSteps(engine, tokens),
      work: tokens === 1 ? 'a token' : `${tokens} tokens`,
      check,
    })
    // the tensors are kept only where they may have to be packed again
    const isReplaceable = runtime.isReplaceable(installed.device)
    return new ModelPlacement(new DevicePlacement(runtime, installed, isReplaceable ? reinstaller(parts) : undefined))
  }

  get engine(): Engine {
    return this.#placement.current.engine
  }

  /** The sequence, or what continues it where the model lives now. */
  migrate(sequence: Sequence): Sequence {
    const { engine } = this
    if (sequence.engine === engine) return sequence
    const moved = engine.restoreSequence(sequence.position, sequence.save())!
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
 * @throws RoutedAttentionError `OUT_OF_MEMORY`; `BAD_FILE` where a caller has transferred the tensors' bytes away; or
 * whatever the device throws
 */
function* install({ config, parameters, tensors }: ModelParts, device: Device): Generator<void, InstalledModel> {
  checkStillThere(tensors)
  const weights = yield* device.packInParts(parameters.layout, (name) => storedValues(tensors.get(name)!, name))
  const engine = new (config.layer.causal ? CausalEngine : FullSequenceEngine)(device, config, parameters, weights)
  return new InstalledModel(device, engine, weights)
}

/** Milliseconds that so many tokens take, after some others. */
async function timeSteps(engine: Engine, tokens: number): Promise<number> {
  const sequence = engine.createSequence()
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
