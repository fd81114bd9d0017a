import type { Device, ParameterValues, WeightPacker } from '../../device/device.js'
import type { Runtime } from '../../device/runtime.js'
import type { ModelWeights } from '../../plan/memory/model-weights.js'
import type { ModelConfig } from '../config/config.js'
import type { Executor } from '../executor/sequence.js'
import { InstalledModel, ModelPlacement, SharedWeights } from './model-placement.js'
import { installOnFastest } from './fastest-device.js'

/** A model's main workload: 'decode', one token after another, or 'prefill', long texts at once. */
export type Workload = 'decode' | 'prefill'

/** Tokens per measured step. */
const MEASURED_TOKENS: Readonly<Record<Workload, number>> = { decode: 1, prefill: 256 }
/** Number of measured steps, after one that builds the pipelines; the fastest counts. */
const MEASURED_STEPS = 3

/** How a model's weights are packed on a device. */
export type PlanWeights = (device: Pick<Device, 'multipliesInt8'>) => ModelWeights

/** A device that may run a model, and the weights on their way to it, or there, or why they are not. */
interface Candidate {
  readonly device: Device
  readonly plan: ModelWeights
  packer: WeightPacker | undefined
  weights: SharedWeights | undefined
  failure: unknown
}

/**
 * Packs a model's weights as they arrive, on each device that may run it: a choice can only be made when they are there.
 * A device that fails is left out, unless it is the last.
 */
export class ModelInstaller {
  readonly #runtime: Runtime
  readonly #config: ModelConfig
  readonly #candidates: readonly Candidate[]

  /** @throws RoutedAttentionError `OUT_OF_MEMORY` */
  constructor(runtime: Runtime, config: ModelConfig, planFor: PlanWeights) {
    this.#runtime = runtime
    this.#config = config
    this.#candidates = runtime.candidates.map((device) => {
      return { device, plan: planFor(device), packer: undefined, weights: undefined, failure: undefined }
    })
    this.#forEach((candidate) => (candidate.packer = candidate.device.openPacker(candidate.plan.layout)))
  }

  /** The device preferred so far. */
  get device(): Device {
    return this.#candidates[0]!.device
  }

  /** See `WeightPacker.put`. */
  put(name: string, first: number, values: ParameterValues): void {
    this.#forEach(({ packer }) => packer!.put(name, first, values))
  }

  /** See `WeightPacker.putScales`. */
  putScales(name: string, first: number, scales: Float32Array): void {
    this.#forEach(({ packer }) => packer!.putScales(name, first, scales))
  }

  /**
   * Called once all weights have come. If there is a choice of devices, each runs a sample of the workload, and the
   * fastest is chosen. On failure it may be called again.
   * @param check called after yielding to the event loop; throws if the load should end
   * @throws RoutedAttentionError `OUT_OF_MEMORY`, or whatever the only device threw
   */
  async place(workload: Workload, check: () => void): Promise<ModelPlacement> {
    const tokens = MEASURED_TOKENS[workload]
    this.#forEach((candidate) => {
      candidate.weights ??= new SharedWeights(candidate.plan, candidate.packer!.finish())
      candidate.packer = undefined
    })
    const installed = await installOnFastest(this.#runtime, {
      install: (device) => this.#install(device),
      time: ({ executor }) => timeSteps(executor, tokens),
      work: tokens === 1 ? 'a token' : `${tokens} tokens`,
      check,
    })
    if (!this.#runtime.isReplaceable(installed.device)) {
      this.dispose()
      return new ModelPlacement(this.#runtime, installed, undefined)
    }
    // what takes over has its weights already: they cannot be read from a device that was lost
    for (const candidate of this.#candidates) if (candidate.device === installed.device) this.#release(candidate)
    return new ModelPlacement(this.#runtime, installed, {
      install: (device) => this.#install(device),
      dispose: () => this.dispose(),
    })
  }

  /** Gives back what the placement does not hold. Idempotent. */
  dispose(): void {
    for (const candidate of this.#candidates) this.#release(candidate)
  }

  #install(device: Device): InstalledModel {
    const { weights, failure } = this.#candidates.find((candidate) => candidate.device === device)!
    if (!weights) throw failure
    return new InstalledModel(device, this.#config, weights)
  }

  /** Runs a step for each candidate, and leaves out those for which it fails, unless none is left then. */
  #forEach(step: (candidate: Candidate) => void): void {
    for (const candidate of this.#candidates) {
      if (candidate.failure !== undefined) continue
      try {
        step(candidate)
      } catch (error) {
        candidate.failure = error
        this.#release(candidate)
      }
    }
    if (this.#candidates.every(({ failure }) => failure !== undefined)) throw this.#candidates.at(-1)!.failure
  }

  #release(candidate: Candidate): void {
    candidate.packer?.dispose()
    candidate.packer = undefined
    candidate.weights?.dispose()
    candidate.weights = undefined
  }
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
