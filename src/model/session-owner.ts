import type { GenerationModel } from './generation/generate-options.js'
import type { Lifetime } from './lifetime.js'
import type { ModelPlacement } from './placement/model-placement.js'

/** The model, as a session sees it. */
export interface SessionOwner extends GenerationModel {
  readonly lifetime: Lifetime
  readonly fingerprint: Uint8Array
  readonly placement: ModelPlacement
  /** Lifetimes of the sessions that hold memory. */
  readonly sessions: Set<Lifetime>
  /** The model itself, kept alive as long as one of its sessions. */
  readonly model: object
}
