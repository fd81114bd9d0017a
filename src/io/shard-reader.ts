import { HeldShard } from './held-shard.js'
import type { ShardIndex } from './index-file.js'
import { missingFiles } from './missing-files.js'
import type { LoadTracker } from './progress.js'
import type { SafetensorsHeader, TensorInfo } from './safetensors.js'
import { ShardChanged, ShardHeaders } from './shard-headers.js'
import type { SourceReader } from './source-reader.js'
import { RETRY_DELAYS } from './sources/retry.js'
import { isMissing, type MissingFile, type Source } from './sources/source.js'
import type { TensorSink } from './tensor-sink.js'

/** Shards that are open at a time; browsers have six connections to a host that knows nothing newer than HTTP/1.1. */
const MAX_HELD = 4

/** Given all headers, returns what takes the tensors. */
export type ParseHeaders<Weights> = (tensors: ReadonlyMap<string, TensorInfo>) => Weights | Promise<Weights>

/** Reads weights that are in several files. */
export class ShardReader {
  constructor(
    private readonly source: Source,
    private readonly files: SourceReader,
    private readonly tracker: LoadTracker,
  ) {}

  /** Reads the headers of all shards, then their tensors; begins again if a host changes the files in between. */
  async read<T extends TensorSink>(index: ShardIndex, parse: ParseHeaders<T>): Promise<T> {
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
    if (missing.length > 0) throw missingFiles(this.source, missing)
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
        if (held.length < MAX_HELD) {
          const opened = new HeldShard(this.files, shard, (header) => takeHeader(shard, header))
          held.push(opened)
          missing = await opened.header
        } else {
          const read = await this.files.readHeader(shard, (header) => takeHeader(shard, header))
          if (isMissing(read)) missing = read
        }
        if (missing) throw missingFiles(this.source, [[shard, missing]])
      }
      const sink = headers.underAllNames(weights!)
      for (const shard of held) {
        const read = await shard.read(sink)
        if (isMissing(read)) throw missingFiles(this.source, [[shard.name, read]])
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
    if (isMissing(read)) throw missingFiles(this.source, [[shard, read]])
  }
}
