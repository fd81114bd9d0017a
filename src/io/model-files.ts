import { LoadTracker } from './progress.js'
import { ModelReader } from './model-reader.js'
import type { ModelSource, ReadOptions } from './read-options.js'
import type { RoutedAttentionError } from '../errors.js'
import type { StoredTensor, TensorInfo } from './safetensors.js'
import { createSource } from './sources/create-source.js'
import { TensorCollector, type TensorSink } from './tensor-sink.js'

export type { ModelSource, ReadOptions }

/**
 * The caller's parsers; each throws to reject a file. They are called in this order, before anything larger is read,
 * and again if a file has to be read again: the result of the last call counts.
 */
export interface ModelParsers<Config, Tokenizer, Generation, Weights> {
  config(json: unknown): Config
  tokenizer(bytes: Uint8Array, config: Config): Tokenizer | Promise<Tokenizer>
  /** generation_config.json, if there is one; only requested if this parser is present. */
  generation(json: unknown, config: Config): Generation
  /** All headers: called before any body is read. */
  weights(tensors: ReadonlyMap<string, TensorInfo>, config: Config): Weights | Promise<Weights>
}

/** The parsers' results. */
export interface ParsedFiles<Config, Tokenizer, Generation, Weights> {
  readonly config: Config
  /** Undefined if there is no tokenizer.json. */
  readonly tokenizer: Tokenizer | undefined
  /** Undefined if there is no generation_config.json. */
  readonly generation: Generation | undefined
  readonly weights: Weights
  /** Optional files that may exist but could not be read: the reason by name. */
  readonly unavailable: ReadonlyMap<string, RoutedAttentionError>
}

/** What takes a model's tensors. */
export interface WeightsSink extends TensorSink {
  /** Asked once all tensors came: whether they must be read once more, into what the parser returns then. */
  readonly mustBeReadAgain?: boolean
}

/** The parsers' results, and the tensors. */
export interface ModelFiles<Config = unknown, Tokenizer = Uint8Array, Generation = undefined, Weights = undefined> extends ParsedFiles<
  Config,
  Tokenizer,
  Generation,
  Weights
> {
  /** The tensors given to `weights`, with their bytes. */
  readonly tensors: ReadonlyMap<string, StoredTensor>
}

/**
 * Reads a model's files as `streamModelFiles` does, and holds all tensors.
 * @throws RoutedAttentionError as `streamModelFiles` does
 */
export async function readModelFiles<Config = unknown, Tokenizer = Uint8Array, Generation = undefined, Weights = undefined>(
  source: ModelSource,
  options: ReadOptions = {},
  parsers: Partial<ModelParsers<Config, Tokenizer, Generation, Weights>> = {},
): Promise<ModelFiles<Config, Tokenizer, Generation, Weights>> {
  const { weights: parse, ...others } = parsers
  let collector: TensorCollector | undefined
  const weights = async (infos: ReadonlyMap<string, TensorInfo>, config: Config) => {
    collector?.release()
    const parsed = (await parse?.(infos, config)) as Weights
    return Object.assign((collector = new TensorCollector(infos)), { parsed })
  }
  try {
    const files = await streamModelFiles(source, options, { ...others, weights })
    return { ...files, weights: files.weights.parsed, tensors: files.weights.tensors }
  } catch (error) {
    collector?.release() // the error's stack may refer to it
    throw error
  }
}

/**
 * Reads config.json, tokenizer.json and generation_config.json if present, and model.safetensors or else the shards of
 * its index. Ignores other files. The tensors are written to what `parsers.weights` returns, as they arrive.
 * @param options checked: `checkReadOptions`
 * @param parsers without one, config.json is returned as parsed JSON, and tokenizer.json as bytes
 * @throws RoutedAttentionError `BAD_FILE` for a file that is missing, broken or forbidden; `NETWORK` for a host that
 * cannot be reached or is not ready, or a transfer that failed for good; `BAD_ARGUMENT`; `UNSUPPORTED` for a path if
 * there is no file system; `OUT_OF_MEMORY`. Also whatever a parser or `onProgress` throws, and the signal's reason
 */
export async function streamModelFiles<Config, Tokenizer, Generation, Weights extends WeightsSink>(
  source: ModelSource,
  options: ReadOptions,
  parsers: Partial<ModelParsers<Config, Tokenizer, Generation, Weights>> &
    Pick<ModelParsers<Config, Tokenizer, Generation, Weights>, 'weights'>,
): Promise<ParsedFiles<Config, Tokenizer, Generation, Weights>> {
  const tracker = new LoadTracker(options.onProgress, options.signal)
  tracker.checkSignal()
  const digests = new Map(Object.entries(options.integrity ?? {}))
  const reader = new ModelReader(createSource(source, options, digests), tracker, digests, options.signal)
  const config = await reader.readConfig((json) => (parsers.config ? parsers.config(json) : (json as Config)))
  const tokenizer = await reader.readTokenizer((bytes) => (parsers.tokenizer ? parsers.tokenizer(bytes, config) : (bytes as Tokenizer)))
  const generation = parsers.generation && (await reader.readGeneration((json) => parsers.generation!(json, config)))
  let weights: Weights
  do weights = await reader.readWeights((tensors) => parsers.weights(tensors, config))
  while (weights.mustBeReadAgain)
  tracker.complete()
  return { config, tokenizer, generation, weights, unavailable: reader.unavailable }
}
