import { atOnce, gradually } from '../../event-loop.js'
import { type Device, type DeviceBuffer } from '../../device/device.js'
import type { Runtime } from '../../device/runtime.js'
import { checkStillThere } from '../../io/moved-bytes.js'
import type { StoredTensor } from '../../io/safetensors.js'
import type { ModelParameters } from '../../plan/memory/model-parameters.js'
import { CausalEngine } from '../engine/causal-engine.js'
import type { ModelConfig } from '../config/config.js'
import { FullSequenceEngine } from '../engine/full-sequence-engine.js'
import type { Engine, Sequence } from '../engine/sequence.js'
import { storedValues } from '../parameters/stored-parameters.js'

/** What a model will mostly do: one token after the other, or long texts at once. */
export type Workload = 'decode' | 'prefill'

/** Tokens of one measured step. */
const MEASURED_TOKENS: Readonly<Record<Workload, number>> = { decode: 1, prefill: 256 }
/** Steps that are measured, after one that makes the pipelines; the quickest counts. */
const MEASURED_STEPS = 3

/** A model's weights on one device, and what reads sequences with them. */
interface Installation {
  readonly device: Device
  readonly weights: DeviceBuffer
  readonly engine: Engine
}

/** What a model is made of. */
interface ModelParts {
  readonly runtime: Runtime
  readonly config: ModelConfig
  readonly parameters: ModelParameters
  readonly tensors: ReadonlyMap<string, StoredTensor>
}

/** Where a model lives: on the device that it was put on, until that is lost and the runtime has another. */
export class ModelPlacement {
  readonly #runtime: Runtime
  readonly #config: ModelConfig
  readonly #parameters: ModelParameters
  /** Kept only where the weights may have to be packed again. */
  readonly #tensors: ReadonlyMap<string, StoredTensor> | undefined
  #current: Installation

  private constructor({ runtime, config, parameters, tensors }: ModelParts, current: Installation) {
    this.#runtime = runtime
    this.#config = config
    this.#parameters = parameters
    this.#tensors = runtime.isReplaceable(current.device) ? tensors : undefined
    this.#current = current
  }

  /**
   * Where there is a choice of devices, each does some of the workload, and the quickest is taken.
   * @param check called when the event loop has turned: throws when the load should end
   * @throws RoutedAttentionError `OUT_OF_MEMORY`, or whatever the only device threw
   */
  static async create(parts: ModelParts, workload: Workload, check: () => void): Promise<ModelPlacement> {
    const { runtime } = parts
    const [first, ...others] = runtime.candidates
    if (others.length === 0) return new ModelPlacement(parts, await gradually(install(parts, first!), check))
    let best: { installation: Installation; time: number } | undefined
    const times: string[] = []
    for (const device of runtime.candidates) {
      let installation: Installation | undefined
      try {
        installation = await gradually(install(parts, device), check)
        const time = await timeSteps(installation.engine, MEASURED_TOKENS[workload])
        times.push(`${time.toFixed(2)} ms on ${device.name}`)
        if (best && best.time <= time) {
          uninstall(installation)
          continue
        }
        if (best) uninstall(best.installation)
        best = { installation, time }
      } catch (error) {
        if (installation) uninstall(installation)
        try {
          check()
        } catch (reason) {
          if (best) uninstall(best.installation)
          throw reason
        }
        if (!runtime.isReplaceable(device)) {
          if (best) break
          throw error
        }
        times.push(`${device.name}: ${(error as Error).message}`)
      }
    }
    const tokens = MEASURED_TOKENS[workload]
    runtime.commitTo(best!.installation.device, `slower here: ${tokens === 1 ? 'a token' : `${tokens} tokens`} took ${times.join(', ')}`)
    return new ModelPlacement(parts, best!.installation)
  }

  get engine(): Engine {
    if (this.#runtime.isStale(this.#current.device)) {
      const lost = this.#current
      const parts = { runtime: this.#runtime, config: this.#config, parameters: this.#parameters, tensors: this.#tensors! }
      this.#current = atOnce(install(parts, this.#runtime.device))
      uninstall(lost)
    }
    return this.#current.engine
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
    uninstall(this.#current)
  }
}

/**
 * @throws RoutedAttentionError `OUT_OF_MEMORY`; `BAD_FILE` where a caller has transferred the tensors' bytes away; or
 * whatever the device throws
 */
function* install({ config, parameters, tensors }: ModelParts, device: Device): Generator<void, Installation> {
  checkStillThere(tensors)
  const weights = yield* device.packInParts(parameters.layout, (name) => storedValues(tensors.get(name)!, name))
  const engine = new (config.layer.causal ? CausalEngine : FullSequenceEngine)(device, config, parameters, weights)
  return { device, weights, engine }
}

function uninstall({ engine, weights }: Installation): void {
  engine.dispose()
  weights.dispose()
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
