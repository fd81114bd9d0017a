import { yieldToEventLoop, gradually } from '../event-loop.js'
import { createRuntime } from '../device/create-runtime.js'
import { checkRuntime, type Runtime } from '../device/runtime.js'
import { describe, RoutedAttentionError } from '../errors.js'
import { checkStillThere } from '../io/moved-bytes.js'
import { type ModelSource, READ_OPTIONS, type ReadOptions } from '../io/read-options.js'
import type { TensorInfo } from '../io/safetensors.js'
import type { Tokenizer } from '../io/tokenizer.js'
import { interruptBy } from '../interrupt.js'
import { checkOptions } from '../options.js'
import type { Signal } from '../platform.js'
import { Tensor } from '../tensor.js'
import { checkTokenizerKind, type TokenizerKind } from './text/choose-tokenizer.js'
import type { AssumedDefaults, ModelConfig } from './config/config.js'
import { type EvaluateOptions, type Evaluation, evaluate } from './evaluate.js'
import { fingerprintOf } from './parameters/fingerprint.js'
import { complete, type Completion } from './generation/complete.js'
import { generate, type GeneratedToken } from './generation/generate.js'
import { type GenerateOptions, type Generation, resolveGeneration } from './generation/generate-options.js'
import { Lifetime } from './placement/lifetime.js'
import { createMissingTokenizer } from './text/missing-tokenizer.js'
import { ModelPlacement, type Workload } from './placement/model-placement.js'
import { retryForMemory } from './placement/retry.js'
import type { LogitsResult, LogitsRequest } from './engine/sequence.js'
import { decodeSession } from './session-bytes.js'
import { Session, type SessionOwner } from './session.js'
import { type ModelContents, planForValues, readModel } from './read-model.js'
import { checkTokenIds, type TokenIds } from './text/token-ids.js'

/** Options of `LanguageModel.load`. */
export interface LoadOptions extends ReadOptions {
  /** Where the model shall live; without one it makes its own, and disposes of it with itself. */
  runtime?: Runtime | undefined
  /**
   * What it will mostly do, where its runtime has a choice of devices (`device: 'auto'`): each does some of it, and the
   * quickest is taken. Default 'decode', one token after the other.
   */
  workload?: Workload | undefined
  /**
   * 'bytes': token ids are the bytes of UTF-8, and those from 256 on have no text. It wins over tokenizer.json;
   * `"tokenizer": "bytes"` in config.json does the same. Default: what tokenizer.json says.
   */
  tokenizer?: TokenizerKind | undefined
}

const LOAD_OPTIONS: readonly (keyof LoadOptions)[] = [...READ_OPTIONS, 'runtime', 'workload', 'tokenizer']

/** Options of `LanguageModel.forward`. */
export interface ModelForwardOptions {
  /** Its reason rejects the call. */
  signal?: Signal | undefined
}

const FORWARD_OPTIONS = ['signal']

/** What a model and its parts share. */
interface Parts extends Omit<ModelContents, 'parameters'> {
  readonly fingerprint: Uint8Array
  readonly runtime: Runtime
  readonly ownsRuntime: boolean
  readonly placement: ModelPlacement
}

/** What a model's memory is: its placement, and the runtime if the model made it. */
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

/** A language model whose every block is the routed-attention layer (SPEC section 7). */
export class LanguageModel {
  /** What config.json says, with defaults filled in. */
  readonly config: ModelConfig
  /** What config.json leaves unsaid: its keys, with the defaults that were taken for them. */
  readonly assumed: AssumedDefaults
  /**
   * Text to token ids and back. Of a model without a tokenizer all throw `UNSUPPORTED`, or what `unavailable` says of
   * tokenizer.json.
   */
  readonly tokenizer: Tokenizer
  /** Whether the model came with a tokenizer.json, or reads bytes. */
  readonly hasTokenizer: boolean
  /**
   * Files that the model can do without, and that may be there but could not be had, each with the reason: where the
   * host of tokenizer.json failed, say, or a browser did not let the page see its 404. Empty where all is well.
   */
  readonly unavailable: Readonly<Record<string, string>>
  /**
   * Tokens that end a text: `eos_token_id` of generation_config.json, or else of config.json; none where neither has
   * it.
   */
  readonly eosTokenIds: readonly number[]
  /** Where it lives: the one that `load` was given, or its own. */
  readonly runtime: Runtime
  /** Numbers in its parameters. */
  readonly numParameters: number
  readonly #placement: ModelPlacement
  readonly #lifetime: Lifetime
  readonly #owner: SessionOwner

  private constructor(parts: Parts) {
    this.config = parts.config
    this.assumed = parts.assumed
    const tokenizerFailure = parts.unavailable.get('tokenizer.json')
    this.tokenizer = parts.tokenizer ?? createMissingTokenizer(tokenizerFailure)
    this.hasTokenizer = parts.tokenizer !== undefined
    this.eosTokenIds = Object.freeze([...parts.eosTokenIds])
    this.unavailable = Object.fromEntries([...parts.unavailable].map(([name, { message }]) => [name, message]))
    this.runtime = parts.runtime
    this.numParameters = sizeOf(parts.tensors)
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

  /**
   * Loads config.json, the weights (model.safetensors, or an index and its shards) and, if they are there,
   * tokenizer.json and generation_config.json. What config.json leaves unsaid takes its default, and is listed in
   * `assumed`. A tokenizer.json that may be there but could not be had does not decide the load: `unavailable` says
   * why, and text is then refused with that error's code (`NETWORK`, say).
   * @param source a folder's path, a URL (http, https or file), the files a user picked, or a Map of bytes by name
   * @throws RoutedAttentionError `BAD_FILE`, `NETWORK`, `BAD_CONFIG` (config.json), `BAD_WEIGHTS`, `BAD_ARGUMENT`,
   * `OUT_OF_MEMORY`; or the signal's reason, or what `onProgress` threw. All memory has been given back then
   */
  static async load(source: ModelSource, options: LoadOptions = {}): Promise<LanguageModel> {
    checkOptions('load', options, LOAD_OPTIONS)
    const { runtime: given, workload = 'decode', tokenizer: kind, ...readOptions } = options
    checkTokenizerKind(kind)
    if (workload !== 'decode' && workload !== 'prefill') {
      throw new RoutedAttentionError('BAD_ARGUMENT', `load: workload must be 'decode' or 'prefill', got ${describe(workload)}`)
    }
    if (given !== undefined) {
      checkRuntime(given)
      given.assertUsable()
    }
    const contents = await readModel(source, readOptions, kind, (byteLength) => void given?.device.prepare?.(byteLength))
    const runtime = given ?? (await createRuntime({ ...(readOptions.signal && { signal: readOptions.signal }) }))
    try {
      return await LanguageModel.#assemble(contents, runtime, given === undefined, workload, readOptions.signal)
    } catch (error) {
      if (given === undefined) await runtime.dispose()
      throw error
    }
  }

  static async #assemble(
    contents: ModelContents,
    runtime: Runtime,
    ownsRuntime: boolean,
    workload: Workload,
    signal: Signal | undefined,
  ): Promise<LanguageModel> {
    const { config, tensors } = contents
    // the tensors may be the caller's bytes, and the event loop turns meanwhile
    const check = () => {
      signal?.throwIfAborted()
      runtime.assertUsable()
      checkStillThere(tensors)
    }
    runtime.assertUsable()
    check()
    const { scanner } = runtime.device
    const fingerprint = await gradually(fingerprintOf(config, tensors, scanner), check)
    const parameters = await gradually(planForValues(contents, scanner), check)
    const placement = await retryForMemory(() => ModelPlacement.create({ runtime, config, parameters, tensors }, workload, check))
    return new LanguageModel({ ...contents, fingerprint, runtime, ownsRuntime, placement })
  }

  /**
   * Logits after each token, [n, V].
   * @throws RoutedAttentionError `BAD_ARGUMENT` (a token id; more than `max_positions`), `OUT_OF_MEMORY`, `DISPOSED`;
   * or the signal's reason
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
   * How well the model predicts a text: the mean of -log2 p over all tokens but the first, the text cut into chunks
   * that know nothing of each other.
   * @throws RoutedAttentionError `BAD_ARGUMENT`, `OUT_OF_MEMORY`, `DISPOSED`; or the signal's reason, or what
   * `onProgress` threw
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
   * Continues a text, token by token. One that is broken off gives its memory back; one never asked for a token takes
   * none.
   * @param prompt text, or token ids; at least one token
   * @throws RoutedAttentionError `BAD_ARGUMENT`, `UNSUPPORTED` (text without a tokenizer). From `next()`:
   * `OUT_OF_MEMORY`, `DISPOSED`, `NUMERIC` (no token to choose), what `logitsProcessor` or `onProgress` threw; or the
   * signal's reason
   */
  generate(prompt: string | TokenIds, options: GenerateOptions = {}): AsyncGenerator<GeneratedToken, void, undefined> {
    return this.#generate(this.#resolve('generate', prompt, options))
  }

  /**
   * A continuation as a whole: its text and token ids, why it ended, and how many tokens were read and written.
   * @throws RoutedAttentionError as `generate` does, all from the promise
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

  /**
   * A new, empty sequence.
   * @throws RoutedAttentionError `OUT_OF_MEMORY`, `DISPOSED`
   */
  createSession(): Session {
    this.#lifetime.assertUsable()
    return new Session(this.#owner, this.#placement.engine.createSequence(), undefined, new Int32Array(0))
  }

  /**
   * A session as it was saved, by this model anywhere.
   * @throws RoutedAttentionError `BAD_FILE` for bytes that are damaged or of another model, `BAD_ARGUMENT`,
   * `OUT_OF_MEMORY`, `DISPOSED`
   */
  restoreSession(bytes: Uint8Array): Session {
    this.#lifetime.assertUsable()
    const { position, logits, recentIds, sequence } = decodeSession(bytes, this.#owner)
    const restored = this.#placement.engine.restoreSequence(position, sequence)
    if (!restored)
      throw new RoutedAttentionError('BAD_FILE', `a session at position ${position} does not hold ${sequence.length} bytes; it was altered`)
    return new Session(this.#owner, restored, logits, recentIds)
  }

  /** One forward of its own. */
  async #read(ids: Int32Array, request: LogitsRequest, signal?: Signal): Promise<LogitsResult> {
    const read = async () => {
      const sequence = this.#placement.engine.createSequence()
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
   * Gives the model's memory back, its sessions' too, and the runtime if the model made it. Work in flight ends with
   * `DISPOSED`. Idempotent.
   */
  dispose(): void {
    for (const session of [...this.#owner.sessions]) session.dispose()
    this.#lifetime.dispose()
  }

  /** `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}

function sizeOf(tensors: ReadonlyMap<string, TensorInfo>): number {
  return [...tensors.values()].reduce((sum, { shape }) => sum + shape.reduce((product, length) => product * length, 1), 0)
}
