import type { Device, DeviceBuffer } from '../../device/device.js'
import { ResourceScope } from '../../device/resource-scope.js'
import type { Interrupt } from '../../interrupt.js'
import { Mutex } from '../../mutex.js'
import type { ModelWeights } from '../../plan/memory/model-weights.js'
import { parseState } from '../../plan/memory/saved-state.js'
import { planBucket } from '../../plan/model-plan.js'
import type { ModelConfig } from '../config/config.js'
import { CapacityBucket } from './capacity-bucket.js'
import type { CausalModel } from './causal-model.js'
import { type BucketExecutor, CausalSequence } from './causal-sequence.js'
import { CausalState } from './causal-state.js'
import { DecodeCounts } from './decode-counts.js'
import type { Sequence } from './sequence.js'

/** Reads sequences with a causal model: constant memory, and constant work per token, at any position. */
export class CausalExecutor implements BucketExecutor {
  readonly decodeCounts = new DecodeCounts()
  readonly #model: CausalModel
  readonly #scope: ResourceScope
  readonly #buckets = new Map<number, CapacityBucket>()

  constructor(device: Device, config: ModelConfig, parameters: ModelWeights, weights: DeviceBuffer) {
    this.#model = { device, config, parameters, weights, mutex: new Mutex(), decodeCounts: this.decodeCounts }
    this.#scope = new ResourceScope(device)
  }

  bucketFor(length: number): CapacityBucket {
    const bucketLength = planBucket(this.#model.config.layer, length)
    const known = this.#buckets.get(bucketLength)
    if (known) return known
    const bucket = this.#scope.use(new CapacityBucket(this.#model, bucketLength))
    this.#buckets.set(bucketLength, bucket)
    return bucket
  }

  createSequence(): Sequence {
    return new CausalSequence(this, CausalState.create(this.bucketFor(1)))
  }

  restoreSequence(position: number, saved: Uint8Array): Sequence | undefined {
    const layers = parseState(this.#model.config, position, saved)
    return layers && new CausalSequence(this, CausalState.importLayers(this.bucketFor(position), position, layers))
  }

  async logProbability(logits: Float32Array, target: number, interrupt?: Interrupt): Promise<number> {
    return this.bucketFor(1).logProbability(logits, target, interrupt)
  }

  dispose(): void {
    this.#scope.dispose()
    this.#buckets.clear()
  }
}
