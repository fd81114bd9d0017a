import { describe, RoutedAttentionError } from '../errors.js'
import { FileReader } from './file-reader.js'
import { parseShardIndex, type ShardIndex } from './index-file.js'
import { parseJson } from './json.js'
import { LoadTracker } from './progress.js'
import type { ModelSource, ReadOptions } from './read-options.js'
import type { SafetensorsHeader, StoredTensor, TensorInfo } from './safetensors.js'
import { ShardHeaders } from './shard-headers.js'
import { checkReadOptions, createSource } from './sources/create-source.js'
import { isMissing, type MissingFile, type Source } from './sources/source.js'

export type { ModelSource, ReadOptions }

const CONFIG = 'config.json'
const TOKENIZER = 'tokenizer.json'
const WEIGHTS = 'model.safetensors'
const INDEX = 'model.safetensors.index.json'

/**
 * What the caller knows about the files; each throws to refuse them. They are called in this order, before anything larger is read,
 * and again where a file has to be read again.
 */
export interface ModelChecks {
  config?(json: unknown): void
  tokenizer?(bytes: Uint8Array): void | Promise<void>
  /** All headers; for http(s) with shards, the bodies of all but the last have been read by then. */
  tensors?(tensors: ReadonlyMap<string, TensorInfo>): void
}

export interface ModelFiles {
  /** config.json, parsed. */
  readonly config: unknown
  readonly tensors: Map<string, StoredTensor>
  /** The bytes of tokenizer.json, where there is one. */
  readonly tokenizer: Uint8Array | undefined
}

/**
 * Reads config.json, tokenizer.json if there is one, and model.safetensors or else the shards of its index. Other files are ignored.
 * @throws RoutedAttentionError `BAD_FILE` for a file that is missing, broken or out of reach; `BAD_ARGUMENT`;
 *   `UNSUPPORTED` for a path where there is no file system; `OUT_OF_MEMORY`. Also what a check or `onProgress` throws, and the signal's reason
 */
export async function readModelFiles(source: ModelSource, options: ReadOptions = {}, checks: ModelChecks = {}): Promise<ModelFiles> {
  checkReadOptions(options)
  const tracker = new LoadTracker(options.onProgress, options.signal)
  tracker.checkSignal()
  const digests = new Map(Object.entries(options.integrity ?? {}))
  return new ModelReader(createSource(source, options, digests), tracker, checks, digests).read()
}

class ModelReader {
  private readonly files: FileReader

  constructor(
    private readonly source: Source,
    private readonly tracker: LoadTracker,
    private readonly checks: ModelChecks,
    private readonly digests: ReadonlyMap<string, string>,
  ) {
    this.files = new FileReader(source, tracker, digests)
  }

  async read(): Promise<ModelFiles> {
    const config = await this.files.readWhole(CONFIG, (bytes) => {
      const json = parseJson(bytes, CONFIG)
      this.checks.config?.(json)
      return json
    })
    if (isMissing(config)) throw this.missing([[CONFIG, config]])
    const tokenizer = await this.files.readWhole(TOKENIZER, async (bytes) => {
      await this.checks.tokenizer?.(bytes)
      return bytes
    })
    if (isMissing(tokenizer) && (tokenizer.isReplaced || this.digests.has(TOKENIZER))) throw this.missing([[TOKENIZER, tokenizer]])
    const tensors = await this.readTensors(isMissing(tokenizer) ? [CONFIG] : [CONFIG, TOKENIZER])
    return { config: config.value, tensors, tokenizer: isMissing(tokenizer) ? undefined : tokenizer.value }
  }

  /** @param others the model's other files */
  private async readTensors(others: readonly string[]): Promise<Map<string, StoredTensor>> {
    const single = await this.files.readShard(WEIGHTS, (header) => {
      this.checkDigestsAreUsed([...others, WEIGHTS])
      this.checks.tensors?.(header.tensors)
    })
    if (!isMissing(single)) return single.value
    const index = await this.files.readWhole(INDEX, (bytes) => parseShardIndex(bytes, INDEX))
    if (isMissing(index)) {
      throw this.missing([
        [WEIGHTS, single],
        [INDEX, index],
      ])
    }
    this.checkDigestsAreUsed([...others, INDEX, ...index.value.shards])
    return this.readShards(index.value)
  }

  private async readShards(index: ShardIndex): Promise<Map<string, StoredTensor>> {
    const { shards } = index
    if (index.totalSize !== undefined) for (const shard of shards) this.tracker.expect(shard, Math.ceil(index.totalSize / shards.length))
    const headers = new ShardHeaders(index)
    const takeHeader = (shard: string) => (header: SafetensorsHeader) => {
      headers.set(shard, header)
      if (!headers.isComplete) return
      const merged = headers.merge()
      this.checks.tensors?.(merged)
    }
    if (this.source.isLocal) {
      const missing: [string, MissingFile][] = []
      for (const shard of shards) {
        const header = await this.files.readHeader(shard)
        if (isMissing(header)) missing.push([shard, header])
        else if (missing.length === 0) takeHeader(shard)(header.value)
        if (missing.length > 20) break
      }
      if (missing.length > 0) throw this.missing(missing)
    }
    const tensors = new Map<string, StoredTensor>()
    for (const shard of shards) {
      const read = await this.files.readShard(shard, this.source.isLocal ? () => {} : takeHeader(shard))
      if (isMissing(read)) throw this.missing([[shard, read]])
      for (const [name, tensor] of read.value) tensors.set(name, tensor)
    }
    return tensors
  }

  /** A digest that nothing is held against would be a promise not kept. */
  private checkDigestsAreUsed(names: readonly string[]): void {
    for (const name of this.digests.keys()) {
      if (names.includes(name)) continue
      throw new RoutedAttentionError(
        'BAD_FILE',
        `integrity names ${describe(name)}, which is none of the files of the model in ${this.source.name} (${names.slice(0, 20).join(', ')})`,
      )
    }
  }

  private missing(files: readonly [string, MissingFile][]): RoutedAttentionError {
    const named = files.slice(0, 20).map(([name, { missing }]) => `${name} (${missing})`)
    if (files.length > named.length) named.push('and more')
    return new RoutedAttentionError('BAD_FILE', `the model in ${this.source.name} lacks ${named.join(', ')}`)
  }
}
