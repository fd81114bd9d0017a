import { describe, RoutedAttentionError } from '../errors.js'
import { parseShardIndex } from './index-file.js'
import { parseJson } from './json.js'
import { missingFiles } from './missing-files.js'
import type { LoadTracker } from './progress.js'
import type { ReadOptions } from './read-options.js'
import type { SafetensorsHeader } from './safetensors.js'
import { type ParseHeaders, ShardReader } from './shard-reader.js'
import { type Read, SourceReader } from './source-reader.js'
import { BrokenTransfer } from './sources/broken-transfer.js'
import { FEW_RETRY_DELAYS, retry, RETRY_DELAYS } from './sources/retry.js'
import { isMissing, type MissingFile, type Source } from './sources/source.js'
import { type TensorSink, underAllNames } from './tensor-sink.js'
import { withTied } from './tied-tensors.js'

const CONFIG = 'config.json'
const TOKENIZER = 'tokenizer.json'
const GENERATION = 'generation_config.json'
const WEIGHTS = 'model.safetensors'
const INDEX = 'model.safetensors.index.json'

/** Reads the files of a model, one after the other. */
export class ModelReader {
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
    if (isMissing(config)) throw missingFiles(this.source, [[CONFIG, config]])
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
    if (!mayBeAbsent || (isPageRefused && result.isReplaced)) throw missingFiles(this.source, [[name, result]])
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
      throw missingFiles(this.source, missing, tries)
    }
    this.checkDigestsAreUsed([...this.names, INDEX, ...index!.value.shards])
    return new ShardReader(this.source, this.files, this.tracker).read(index!.value, parse)
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
}

/** Whether a file may exist after all, so that requesting it again is worthwhile. */
function isPassing(file: object): file is MissingFile & { failure: RoutedAttentionError } {
  return isMissing(file) && file.failure instanceof BrokenTransfer
}
