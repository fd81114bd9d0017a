import type { Device, DeviceBuffer } from '../../device/device.js'
import type { Mutex } from '../../mutex.js'
import type { ModelWeights } from '../../plan/memory/model-weights.js'
import type { ModelConfig } from '../config/config.js'
import type { DecodeCounts } from './decode-counts.js'

/** What all buckets of a model share. */
export interface CausalModel {
  readonly device: Device
  readonly config: ModelConfig
  readonly parameters: ModelWeights
  readonly weights: DeviceBuffer
  /** Held from a submission's preparation until its results have been read: one chunk, or one batch of tokens, at a time. */
  readonly mutex: Mutex
  readonly decodeCounts: DecodeCounts
}
