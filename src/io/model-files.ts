import { RoutedAttentionError } from '../errors.js'
import { parseShardIndex, type ShardIndex } from './index-file.js'
import { MAX_JSON_BYTES, parseJson } from './json.js'
import { LoadTracker } from './progress.js'
import {
  LENGTH_BYTES,
  locateTensors,
  parseSafetensorsHeader,
  type SafetensorsHeader,
  safetensorsHeaderLength,
  type StoredTensor,
  type TensorInfo,
} from './safetensors.js'
import { ShardHeaders } from './shard-headers.js'
import type { ModelSource, ReadOptions } from './read-options.js'
import { checkReadOptions, createSource } from './sources/create-source.js'
import { isMissing, type MissingFile, type OpenFile, type Source } from './sources/source.js'

export type { ModelSource, ReadOptions }

const CONFIG = 'config.json'
const TOKENIZER = 'tokenizer.json'
const WEIGHTS = 'model.safetensors'
const INDEX = 'model.safetensors.index.json'

/** What the caller knows about the files; each throws to refuse them. They are called in this order, before anything larger is read. */
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
  return new ModelReader(createSource(source, options), tracker, checks).read()
}

class ModelReader {
  constructor(
    private readonly source: Source,
    private readonly tracker: LoadTracker,
    private readonly checks: ModelChecks,
  ) {}

  async read(): Promise<ModelFiles> {
    const config = await this.readFile(CONFIG, (file) => this.readWhole(CONFIG, file, parseJson))
    if (isMissing(config)) throw this.missing([[CONFIG, config]])
    this.checks.config?.(config.value)
    const tokenizer = await this.readFile(TOKENIZER, (file) => this.readWhole(TOKENIZER, file, (bytes) => bytes))
    if (isMissing(tokenizer)) {
      if (tokenizer.isReplaced) throw this.missing([[TOKENIZER, tokenizer]])
    } else {
      await this.checks.tokenizer?.(tokenizer.value)
    }
    const tensors = await this.readTensors()
    return { config: config.value, tensors, tokenizer: isMissing(tokenizer) ? undefined : tokenizer.value }
  }

  private async readTensors(): Promise<Map<string, StoredTensor>> {
    const single = await this.readShard(WEIGHTS, (header) => this.checks.tensors?.(header.tensors))
    if (!isMissing(single)) return single.value
    const index = await this.readFile(INDEX, (file) => this.readWhole(INDEX, file, parseShardIndex))
    if (isMissing(index)) {
      throw this.missing([
        [WEIGHTS, single],
        [INDEX, index],
      ])
    }
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
        const header = await this.readFile(shard, (file) => this.readHeader(shard, file, () => {}))
        if (isMissing(header)) missing.push([shard, header])
        else if (missing.length === 0) takeHeader(shard)(header.value.header)
        if (missing.length > 20) break
      }
      if (missing.length > 0) throw this.missing(missing)
    }
    const tensors = new Map<string, StoredTensor>()
    for (const shard of shards) {
      const read = await this.readShard(shard, this.source.isLocal ? () => {} : takeHeader(shard))
      if (isMissing(read)) throw this.missing([[shard, read]])
      for (const [name, tensor] of read.value) tensors.set(name, tensor)
    }
    return tensors
  }

  /** Opens a file, reads it and closes it; where a cached copy is broken, once more from its origin. */
  private async readFile<T>(name: string, read: (file: OpenFile) => Promise<T>): Promise<{ value: T } | MissingFile> {
    for (let isFresh = false; ; isFresh = true) {
      const file = await this.source.open(name, isFresh)
      if (isMissing(file)) return file
      try {
        return { value: await read(file) }
      } catch (error) {
        if (!file.isCached || !(error instanceof RoutedAttentionError && error.code === 'BAD_FILE')) throw error
      } finally {
        await file.close()
      }
    }
  }

  private async readWhole<T>(name: string, file: OpenFile, parse: (bytes: Uint8Array, what: string) => T): Promise<T> {
    const tooLarge = () => new RoutedAttentionError('BAD_FILE', `${name} has more than the ${MAX_JSON_BYTES} bytes expected of a JSON file`)
    if (file.size !== undefined && file.size > MAX_JSON_BYTES) throw tooLarge()
    this.tracker.expect(name, file.sizeHint ?? 0)
    const bytes = await file.take((file.size ?? MAX_JSON_BYTES) + 1, (count) => this.tracker.advance(name, count))
    if (bytes.length > MAX_JSON_BYTES) throw tooLarge()
    const value = parse(bytes, name)
    await file.keep?.([bytes])
    this.tracker.finish(name)
    return value
  }

  private readShard(
    name: string,
    takeHeader: (header: SafetensorsHeader) => void,
  ): Promise<{ value: Map<string, StoredTensor> } | MissingFile> {
    return this.readFile(name, async (file) => {
      this.tracker.expect(name, file.sizeHint ?? 0)
      const received = (count: number) => this.tracker.advance(name, count)
      const { header, bytes } = await this.readHeader(name, file, received)
      takeHeader(header)
      const body = await file.take(header.fileLength - header.bodyOffset, received)
      const isLonger = (await file.take(1, received)).length > 0
      const length = bytes.length + body.length
      if (isLonger || length < header.fileLength) {
        throw new RoutedAttentionError(
          'BAD_FILE',
          `${name} has ${isLonger ? 'more than ' : ''}${length} bytes, and its header describes ${header.fileLength}`,
        )
      }
      await file.keep?.([bytes, body])
      this.tracker.finish(name)
      return locateTensors(header, body)
    })
  }

  private async readHeader(
    name: string,
    file: OpenFile,
    received: (count: number) => void,
  ): Promise<{ header: SafetensorsHeader; bytes: Uint8Array }> {
    const start = await file.take(LENGTH_BYTES, received)
    const text = await file.take(safetensorsHeaderLength(start, file.size, name), received)
    const bytes = new Uint8Array(start.length + text.length)
    bytes.set(start)
    bytes.set(text, start.length)
    return { header: parseSafetensorsHeader(bytes, file.size, name), bytes }
  }

  private missing(files: readonly [string, MissingFile][]): RoutedAttentionError {
    const named = files.slice(0, 20).map(([name, { missing }]) => `${name} (${missing})`)
    if (files.length > named.length) named.push('and more')
    return new RoutedAttentionError('BAD_FILE', `the model in ${this.source.name} lacks ${named.join(', ')}`)
  }
}
