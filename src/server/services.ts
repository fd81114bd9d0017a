import type { LanguageModel } from '../model/language-model.js'
import type { PrefixCache } from '../model/prefix-cache.js'
import type { Places } from './admission.js'
import type { ServerMetrics } from './server-metrics.js'
import type { Settings } from './options.js'
import type { Work } from './work.js'

/** What the routes of one handler share. */
export interface Services {
  readonly model: LanguageModel
  readonly settings: Settings
  /** Gives out places for sequences. */
  readonly admission: Places
  readonly metrics: ServerMetrics
  /** What prompts have in common, read once: a cache for each key, by its number. */
  readonly prefixes: readonly PrefixCache[]
  /** What a shutdown waits for. Requests are counted already; a route adds what goes on without one. */
  readonly work: Work
  /** When the handler was created, in seconds since 1970. */
  readonly created: number
}
