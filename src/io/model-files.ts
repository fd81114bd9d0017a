import { describe, RoutedAttentionError } from '../errors.js'
import { SourceReader, type Read } from './source-reader.js'
import { HeldShard } from './held-shard.js'
import { parseShardIndex, type ShardIndex } from './index-file.js'
import { parseJson } from './json.js'
import { LoadTracker } from './progress.js'
import type { ModelSource, ReadOptions } from './read-options.js'
import type { SafetensorsHeader, StoredTensor, TensorInfo } from './safetensors.js'
import { ShardChanged, ShardHeaders } from './shard-headers.js'
import { BrokenTransfer } from './sources/broken-transfer.js'
import { createSource } from './sources/create-source.js'
import { RETRY_DELAYS, retry, FEW_RETRY_DELAYS } from './sources/retry.js'
import { isMissing, type MissingFile, type Source } from './sources/source.js'
import { TensorCollector, type TensorSink, underAllNames } from './tensor-sink.js'
import { withTied } from './tied-tensors.js'

export type { ModelSource, ReadOptions }

const CONFIG = 'config.json'
const TOKENIZER = 'tokenizer.json'
const GENERATION = 'generation_config.json'
const WEIGHTS = 'model.safetensors'
const INDEX = 'model.safetensors.index.json'

/** Shards that are open at a time; browsers have six connections to a host that knows nothing newer than HTTP/1.1. */
const MOST_HELD = 4

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

/** Given all headers, returns what takes the tensors. */
type ParseHeaders<Weights> = (tensors: ReadonlyMap<string, TensorInfo>) => Weights | Promise<Weights>

class ModelReader {
  private readonly files: SourceReader
  /** Names of the files that were read. */
  private readonly names: string[] = [CONFIG]
  readonly unavailable = new Map<string, RoutedAttentionError>()

  constructor(
    private readonly source: Source,
    private readonly tracker: LoadTracker,
    private readonly digests: ReadonlyMap<string, string>,
    private readonly signal: ReadOptions['signal'],
  ) {
    this.files = new SourceReader(source, tracker, digests)
  }

  async readConfig<T>(parse: (json: unknown) => T): Promise<T> {
    const config = await this.files.readWhole(CONFIG, (bytes) => parse(parseJson(bytes, CONFIG)))
    if (isMissing(config)) throw this.missing([[CONFIG, config]])
    return config.value
  }

  readTokenizer<T>(parse: (bytes: Uint8Array) => T | Promise<T>): Promise<T | undefined> {
    return this.readOptional(TOKENIZER, parse, { isPageRefused: true })
  }

  readGeneration<T>(parse: (json: unknown) => T): Promise<T | undefined> {
    return this.readOptional(GENERATION, (bytes) => parse(parseJson(bytes, GENERATION)))
  }

  /**
   * Reads an optional file; it is required if a digest is given for it. If it cannot be read, the reason is kept in
   * `unavailable`.
   * @param take as of `SourceReader.readWhole`
   * @param options.isPageRefused whether a web page in its place rejects the load; otherwise the file counts as absent
   */
  private async readOptional<T>(
    name: string,
    take: (bytes: Uint8Array) => T | Promise<T>,
    { isPageRefused = false } = {},
  ): Promise<T | undefined> {
    const mayBeAbsent = !this.digests.has(name)
    // Not after a failure without a response: that is what browsers report for any 404 the page may not see.
    const isWorthAnother = (file: object) => isPassing(file) && file.failure.status !== undefined
    const { result } = await retry(() => this.files.readWhole(name, take, { mayBeAbsent }), isWorthAnother, FEW_RETRY_DELAYS, this.signal)
    if (!isMissing(result)) {
      this.names.push(name)
      return result.value
    }
    if (!mayBeAbsent || (isPageRefused && result.isReplaced)) throw this.missing([[name, result]])
    if (result.failure) this.unavailable.set(name, result.failure)
    return undefined
  }

  /** Either file of the weights may be absent. If neither was found and a request failed, both are requested again. */
  async readWeights<T extends TensorSink>(parse: ParseHeaders<T>): Promise<T> {
    const attempt = async () => {
      const single = await this.readSingle(parse)
      return { single, index: isMissing(single) ? await this.readIndex() : undefined }
    }
    const { result, tries } = await retry(
      attempt,
      ({ single, index }) => isMissing(single) && isMissing(index!) && (isPassing(single) || isPassing(index)),
      RETRY_DELAYS,
      this.signal,
    )
    const { single, index } = result
    if (!isMissing(single)) return single.value
    if (isMissing(index!)) {
      const missing: [string, MissingFile][] = [
        [WEIGHTS, single],
        [INDEX, index],
      ]
      throw this.missing(missing, tries)
    }
    this.checkDigestsAreUsed([...this.names, INDEX, ...index!.value.shards])
    return this.readShards(index!.value, parse)
  }

  private async readSingle<T extends TensorSink>(parse: ParseHeaders<T>): Promise<Read<T> | MissingFile> {
    let weights: T | undefined
    const takeHeader = async ({ tensors, metadata }: SafetensorsHeader) => {
      this.checkDigestsAreUsed([...this.names, WEIGHTS])
      weights = await parse(withTied(tensors, metadata))
      return underAllNames(weights, tensors, metadata)
    }
    const read = await this.files.readShard(WEIGHTS, takeHeader, { mayBeAbsent: true })
    return isMissing(read) ? read : { value: weights! }
  }

  private readIndex() {
    return this.files.readWhole(INDEX, (bytes) => parseShardIndex(bytes, INDEX), { mayBeAbsent: true })
  }

  /** Reads the headers of all shards, then their tensors; begins again if a host changes the files in between. */
  private async readShards<T extends TensorSink>(index: ShardIndex, parse: ParseHeaders<T>): Promise<T> {
    this.tracker.expectFurther(index.totalSize ?? 0)
    for (let tries = 1; ; tries++) {
      try {
        return await (this.source.isLocal ? this.readLocalShards(index, parse) : this.readRemoteShards(index, parse))
      } catch (error) {
        if (this.source.isLocal || !(error instanceof ShardChanged) || tries > RETRY_DELAYS.length) throw error
      }
    }
  }

  /** All shards are opened before any is read: those that are missing are named together. */
  private async readLocalShards<T extends TensorSink>(index: ShardIndex, parse: ParseHeaders<T>): Promise<T> {
    const headers = new ShardHeaders(index)
    const missing: [string, MissingFile][] = []
    for (const shard of index.shards) {
      const take = (header: SafetensorsHeader) => missing.length === 0 && headers.set(shard, header)
      const header = await this.files.readHeader(shard, take)
      if (isMissing(header)) missing.push([shard, header])
      if (missing.length > 20) break
    }
    if (missing.length > 0) throw this.missing(missing)
    const weights = await parse(headers.merge())
    const sink = headers.underAllNames(weights)
    for (const shard of index.shards) await this.readShard(shard, (header) => headers.checkUnchanged(shard, header), sink)
    return weights
  }

  /**
   * No shard is read before the headers of all are known. The first few stay open until then, within the number of
   * connections that browsers have; the others are requested once more.
   */
  private async readRemoteShards<T extends TensorSink>(index: ShardIndex, parse: ParseHeaders<T>): Promise<T> {
    const headers = new ShardHeaders(index)
    const held: HeldShard[] = []
    let weights = index.shards.length === 0 ? await parse(new Map()) : undefined
    const takeHeader = async (shard: string, header: SafetensorsHeader) => {
      if (weights) return headers.checkUnchanged(shard, header)
      headers.set(shard, header)
      if (headers.isComplete) weights = await parse(headers.merge())
    }
    try {
      for (const shard of index.shards) {
        let missing: MissingFile | undefined
        if (held.length < MOST_HELD) {
          const opened = new HeldShard(this.files, shard, (header) => takeHeader(shard, header))
          held.push(opened)
          missing = await opened.header
        } else {
          const read = await this.files.readHeader(shard, (header) => takeHeader(shard, header))
          if (isMissing(read)) missing = read
        }
        if (missing) throw this.missing([[shard, missing]])
      }
      const sink = headers.underAllNames(weights!)
      for (const shard of held) {
        const read = await shard.read(sink)
        if (isMissing(read)) throw this.missing([[shard.name, read]])
      }
      for (const shard of index.shards.slice(held.length)) await this.readShard(shard, (header) => takeHeader(shard, header), sink)
      return weights!
    } finally {
      for (const shard of held) await shard.close()
    }
  }

  private async readShard(shard: string, check: (header: SafetensorsHeader) => void | Promise<void>, sink: TensorSink): Promise<void> {
    const takeHeader = async (header: SafetensorsHeader) => {
      await check(header)
      return sink
    }
    const read = await this.files.readShard(shard, takeHeader)
    if (isMissing(read)) throw this.missing([[shard, read]])
  }

  /** An unused digest would give a false sense of security. */
  private checkDigestsAreUsed(names: readonly string[]): void {
    for (const name of this.digests.keys()) {
      if (names.includes(name)) continue
      throw new RoutedAttentionError(
        'BAD_FILE',
        `integrity names ${describe(name)}, which is not a file of the model in ${this.source.name} (${names.slice(0, 20).join(', ')})`,
      )
    }
  }

  /** @param tries number of attempts made */
  private missing(files: readonly [string, MissingFile][], tries = 1): RoutedAttentionError {
    const named = files.slice(0, 20).map(([name, { missing }]) => `${name} (${missing})`)
    if (files.length > named.length) named.push('and more')
    const failure = files.find(([, file]) => file.failure)?.[1].failure
    const status = failure?.status ?? files.find(([, file]) => file.status !== undefined)?.[1].status
    const tried = tries > 1 ? `; it was tried ${tries} times` : ''
    return new RoutedAttentionError(
      failure?.code ?? 'BAD_FILE',
      `the model in ${this.source.name} ${failure ? 'cannot be read without' : 'lacks'} ${named.join(', ')}${tried}`,
      failure ? { cause: failure, status } : { status },
    )
  }
}

/** Whether a file may exist after all, so that requesting it again is worthwhile. */
function isPassing(file: object): file is MissingFile & { failure: RoutedAttentionError } {
  return isMissing(file) && file.failure instanceof BrokenTransfer
}
