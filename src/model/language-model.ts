import { yieldToEventLoop } from '../event-loop.js'
import type { Runtime } from '../device/runtime.js'
import { RoutedAttentionError } from '../errors.js'
import type { ModelSource } from '../io/read-options.js'
import type { Tokenizer } from '../io/tokenizer.js'
import { interruptBy } from '../interrupt.js'
import { checkOptions, namesOf } from '../options.js'
import type { Signal } from '../platform.js'
import { modelParameterCount } from '../plan/parameters.js'
import { Tensor } from '../tensor.js'
import type { AssumedDefaults, ModelConfig } from './config/config.js'
import { type EvaluateOptions, type Evaluation, evaluate } from './evaluate.js'
import { complete, type Completion } from './generation/complete.js'
import { generate, type GeneratedToken } from './generation/generate.js'
import { type GenerateOptions, type Generation, resolveGeneration } from './generation/generate-options.js'
import { Lifetime } from './lifetime.js'
import { type LoadedModel, loadModel, type LoadOptions } from './load-model.js'
import { createMissingTokenizer } from './text/missing-tokenizer.js'
import type { ModelPlacement } from './placement/model-placement.js'
import { retryForMemory } from './retry-for-memory.js'
import type { DecodeCounts } from './executor/decode-counts.js'
import type { LogitsResult, LogitsRequest } from './executor/sequence.js'
import { decodeSession } from './session-bytes.js'
import { Session } from './session.js'
import type { SessionOwner } from './session-owner.js'
import { checkTokenIds, type TokenIds } from './text/token-ids.js'

/** Options of `LanguageModel.forward`. */
export interface ModelForwardOptions {
  /** Aborting it rejects the call with its reason. */
  signal?: Signal | undefined
}

const FORWARD_OPTIONS = namesOf<ModelForwardOptions>({ signal: true })

/** The memory a model owns: its placement, and the runtime if the model created it. */
class ModelMemory {
  constructor(
    private readonly placement: ModelPlacement,
    private readonly ownRuntime: Runtime | undefined,
  ) {}

  dispose(): void {
    this.placement.dispose()
    void this.ownRuntime?.dispose()
  }
}

/** A language model in which every block is a routed-attention layer (SPEC section 7). */
export class LanguageModel {
  /** The contents of config.json, with defaults filled in. */
  readonly config: ModelConfig
  /** The keys missing from config.json, with the default used for each. */
  readonly assumed: AssumedDefaults
  /**
   * Converts between text and token ids. If the model has no tokenizer, every call throws `UNSUPPORTED`, or the error
   * recorded in `unavailable` for tokenizer.json.
   */
  readonly tokenizer: Tokenizer
  /** Whether the model came with a tokenizer.json or uses byte tokens. */
  readonly hasTokenizer: boolean
  /**
   * Optional files that may exist but could not be read, with the reason for each: for example, the host failed to
   * serve tokenizer.json, or the browser hid its 404 from the page. Empty if nothing failed.
   */
  readonly unavailable: Readonly<Record<string, string>>
  /** Tokens that end a text: `eos_token_id` of generation_config.json, else of config.json; empty if neither has it. */
  readonly eosTokenIds: readonly number[]
  /** The runtime passed to `load`, or the model's own. */
  readonly runtime: Runtime
  /** Total number of parameters. */
  readonly numParameters: number
  readonly #placement: ModelPlacement
  readonly #lifetime: Lifetime
  readonly #owner: SessionOwner

  private constructor(parts: LoadedModel) {
    this.config = parts.config
    this.assumed = parts.assumed
    const tokenizerFailure = parts.unavailable.get('tokenizer.json')
    this.tokenizer = parts.tokenizer ?? createMissingTokenizer(tokenizerFailure)
    this.hasTokenizer = parts.tokenizer !== undefined
    this.eosTokenIds = Object.freeze([...parts.eosTokenIds])
    this.unavailable = Object.fromEntries([...parts.unavailable].map(([name, { message }]) => [name, message]))
    this.runtime = parts.runtime
    this.numParameters = modelParameterCount(parts.config)
    this.#placement = parts.placement
    this.#lifetime = new Lifetime(
      parts.runtime,
      this,
      'model',
      new ModelMemory(parts.placement, parts.ownsRuntime ? parts.runtime : undefined),
    )
    this.#owner = {
      lifetime: this.#lifetime,
      numTokens: parts.config.numTokens,
      maxPositions: parts.config.maxPositions,
      tokenizer: parts.tokenizer,
      tokenizerFailure,
      eosTokenIds: this.eosTokenIds,
      fingerprint: parts.fingerprint,
      placement: parts.placement,
      sessions: new Set(),
      model: this,
    }
  }

  /** @internal Identifies the model, its config and weights, among all others; the same wherever it is loaded. */
  get fingerprint(): Uint8Array {
    return this.#owner.fingerprint.slice()
  }

  /**
   * Loads config.json, the weights (model.safetensors, or an index and its shards) and, if present, tokenizer.json and
   * generation_config.json. Keys missing from config.json take their defaults and are listed in `assumed`. If a
   * tokenizer.json that may exist cannot be read, the model loads anyway: `unavailable` says why, and calls with text
   * fail with that error's code (such as `NETWORK`).
   * @param source a folder path, a URL (http, https or file), the files a user picked, or a Map from file name to bytes
   * @throws RoutedAttentionError `BAD_FILE`, `NETWORK`, `BAD_CONFIG` (config.json), `BAD_WEIGHTS`, `BAD_ARGUMENT`,
   * `OUT_OF_MEMORY`; or the signal's reason, or whatever `onProgress` threw. In each case all memory has been released
   */
  static async load(source: ModelSource, options: LoadOptions = {}): Promise<LanguageModel> {
    return new LanguageModel(await loadModel(source, options))
  }

  /**
   * Logits after each token, [n, V].
   * @throws RoutedAttentionError `BAD_ARGUMENT` (an invalid token id, or more than `max_positions` tokens),
   * `OUT_OF_MEMORY`, `DISPOSED`; or the signal's reason
   */
  async forward(tokenIds: TokenIds, options: ModelForwardOptions = {}): Promise<Tensor> {
    this.#lifetime.assertUsable()
    checkOptions('forward', options, FORWARD_OPTIONS)
    options.signal?.throwIfAborted()
    const ids = checkTokenIds('forward', tokenIds, this.config.numTokens)
    this.#checkPositions('forward', ids.length)
    const { logits } = await this.#read(ids, { rows: 'all' }, options.signal)
    return new Tensor(logits, [ids.length, this.config.numTokens])
  }

  /**
   * Measures how well the model predicts a text: the mean of -log2 p over all tokens but the first. The text is cut
   * into chunks that are evaluated independently.
   * @throws RoutedAttentionError `BAD_ARGUMENT`, `OUT_OF_MEMORY`, `DISPOSED`; or the signal's reason, or whatever
   * `onProgress` or `onBits` threw
   */
  async evaluate(tokenIds: TokenIds, options: EvaluateOptions = {}): Promise<Evaluation> {
    this.#lifetime.assertUsable()
    const ids = checkTokenIds('evaluate', tokenIds, this.config.numTokens)
    return evaluate(ids, options, this.config.maxPositions, async (chunk, targets) => {
      const { logProbabilities } = await this.#read(chunk, { rows: 'none', targets }, options.signal)
      return logProbabilities
    })
  }

  /**
   * Continues a text token by token. Memory is allocated at the first `next()` and released when the loop ends, early
   * or not.
   * @param prompt text or token ids; at least one token
   * @throws RoutedAttentionError `BAD_ARGUMENT`, `UNSUPPORTED` (text without a tokenizer). From `next()`:
   * `OUT_OF_MEMORY`, `DISPOSED`, `NUMERIC` (no token can be chosen), whatever `logitsProcessor` or `onProgress` threw,
   * or the signal's reason
   */
  generate(prompt: string | TokenIds, options: GenerateOptions = {}): AsyncGenerator<GeneratedToken, void, undefined> {
    return this.#generate(this.#resolve('generate', prompt, options))
  }

  /**
   * Generates a whole continuation: its text and token ids, why it ended, and token counts.
   * @throws RoutedAttentionError as `generate` does, always by rejecting the promise
   */
  async complete(prompt: string | TokenIds, options: GenerateOptions = {}): Promise<Completion> {
    const generation = this.#resolve('complete', prompt, options)
    return complete(this.#generate(generation), generation.ids.length)
  }

  #resolve(call: string, prompt: string | TokenIds, options: GenerateOptions): Generation {
    if ((prompt as unknown) === null)
      throw new RoutedAttentionError('BAD_ARGUMENT', `${call}: token ids must be an array of numbers or an integer typed array, got null`)
    return resolveGeneration(call, this.#owner, prompt, options)
  }

  #generate(generation: Generation): AsyncGenerator<GeneratedToken, void, undefined> {
    return generate(generation, async () => {
      const session = await retryForMemory(() => this.createSession())
      return Object.assign(await session.beginGeneration(generation.signal), { close: async () => session.dispose() })
    })
  }

  /** @internal What was decoded on its current device; undefined for full-sequence models. */
  get decodeCounts(): DecodeCounts | undefined {
    return this.#placement.executor.decodeCounts
  }

  /**
   * Creates an empty session.
   * @throws RoutedAttentionError `OUT_OF_MEMORY`, `DISPOSED`
   */
  createSession(): Session {
    this.#lifetime.assertUsable()
    return new Session(this.#owner, this.#placement.executor.createSequence(), undefined, new Int32Array(0))
  }

  /**
   * Restores a saved session. It may have been saved on another machine, but by the same model.
   * @throws RoutedAttentionError `BAD_FILE` if the bytes are damaged or belong to another model, `BAD_ARGUMENT`,
   * `OUT_OF_MEMORY`, `DISPOSED`
   */
  restoreSession(bytes: Uint8Array): Session {
    this.#lifetime.assertUsable()
    const { position, logits, recentIds, sequence } = decodeSession(bytes, this.#owner)
    const restored = this.#placement.executor.restoreSequence(position, sequence)
    if (!restored)
      throw new RoutedAttentionError(
        'BAD_FILE',
        `a session of this model at position ${position} does not hold these ${sequence.length} bytes of state; they were altered`,
      )
    return new Session(this.#owner, restored, logits, recentIds)
  }

  /** Runs one forward pass in a sequence of its own. */
  async #read(ids: Int32Array, request: LogitsRequest, signal?: Signal): Promise<LogitsResult> {
    const read = async () => {
      const sequence = this.#placement.executor.createSequence()
      try {
        const interrupt = interruptBy(signal, this.#lifetime)
        const pause = () => {
          interrupt.check()
          return yieldToEventLoop()
        }
        const { result, commit } = await sequence.append(ids, request, pause, interrupt)
        commit()
        return result
      } finally {
        sequence.dispose()
      }
    }
    return this.#lifetime.use(() => retryForMemory(read))
  }

  #checkPositions(call: string, length: number): void {
    const { maxPositions } = this.config
    if (maxPositions !== null && length > maxPositions) {
      throw new RoutedAttentionError(
        'BAD_ARGUMENT',
        `${call}: ${length} tokens are more than the ${maxPositions} positions (max_positions) of this model`,
      )
    }
  }

  /**
   * Releases the memory of the model and its sessions, and the runtime if the model created it. Pending work rejects
   * with `DISPOSED`. Idempotent.
   */
  dispose(): void {
    for (const session of [...this.#owner.sessions]) session.dispose()
    this.#lifetime.dispose()
  }

  /** Same as `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}
