import type { LanguageModel } from '../model/language-model.js'
import type { PrefixCache } from '../model/prefix-cache.js'
import type { Places } from './admission.js'
import type { LogEntry, Usage } from './log.js'
import { type Counter, type Histogram, MetricsRegistry } from './metrics.js'

const SECONDS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100]

/** What a server counts. Labels are routes and statuses alone: no ids, texts, keys or clients. */
export class ServerMetrics {
  /** Others may add theirs. */
  readonly registry = new MetricsRegistry()
  readonly #requests: Counter
  readonly #tokens: Counter
  readonly #duration: Histogram
  readonly #queued: Histogram

  constructor() {
    const { registry } = this
    this.#requests = registry.counter('routed_attention_requests_total', 'Requests that have ended, by route and status.')
    this.#tokens = registry.counter('routed_attention_tokens_total', 'Tokens of prompts, those of them read before, and tokens generated.')
    this.#duration = registry.histogram('routed_attention_request_seconds', 'From a request to the end of its answer.', SECONDS)
    this.#queued = registry.histogram('routed_attention_queued_seconds', 'Time that requests waited for others.', SECONDS)
  }

  /** Tells of a model too, once there is one. */
  observe(model: LanguageModel, admission: Places, prefixes: readonly PrefixCache[]): void {
    const { registry } = this
    registry.gauge('routed_attention_sequences', 'Sequences that are being read or continued.', () => admission.running)
    const decoded = () => model.decodeCounts ?? { batches: 0, tokens: 0 }
    registry.counterOf('routed_attention_decode_batches_total', 'Batches of sequences decoded together.', () => decoded().batches)
    registry.counterOf(
      'routed_attention_decode_tokens_total',
      'Tokens of those batches: by batches, their mean size.',
      () => decoded().tokens,
    )
    registry.gauge('routed_attention_queue_length', 'Requests that wait for others.', () => admission.queued)
    registry.gauge('routed_attention_memory_bytes', 'Memory of the runtime, in use and reserved.', () => {
      const { used, reserved } = model.runtime.info.memory
      return [
        [{ kind: 'used' }, used],
        [{ kind: 'reserved' }, reserved],
      ]
    })
    registry.gauge('routed_attention_cache_bytes', 'What is remembered of prompts.', () =>
      prefixes.reduce((sum, { byteLength }) => sum + byteLength, 0),
    )
  }

  /** Counts a request that has ended. */
  count({ route, status, milliseconds, queuedMilliseconds, promptTokens, cachedTokens, completionTokens }: LogEntry): void {
    this.#requests.add(1, { route, status: String(status) })
    this.countTokens({ promptTokens, cachedTokens, completionTokens })
    this.#duration.observe(milliseconds / 1000)
    this.#queued.observe(queuedMilliseconds / 1000)
  }

  /** Counts tokens of a request, or of a turn, which goes on without one. */
  countTokens({
    promptTokens,
    cachedTokens = 0,
    completionTokens,
  }: Omit<Usage, 'queuedMilliseconds' | 'cachedTokens'> & { cachedTokens?: number }): void {
    this.#tokens.add(promptTokens, { kind: 'prompt' })
    this.#tokens.add(cachedTokens, { kind: 'cached' })
    this.#tokens.add(completionTokens, { kind: 'completion' })
  }
}
