import { describe, RoutedAttentionError } from '../errors.js'
import type { ShardIndex } from './index-file.js'
import type { SafetensorsHeader, TensorInfo } from './safetensors.js'
import { type TensorSink, underAllNames } from './tensor-sink.js'
import { withTied } from './tied-tensors.js'

/** The error for a shard that is not any more what its header was. */
export class ShardChanged extends RoutedAttentionError {
  constructor(shard: string) {
    super('BAD_FILE', `${shard} was written to while the model was being read; load it again`)
  }
}

/** The headers of a model's shards, checked against the index. */
export class ShardHeaders {
  private readonly headers = new Map<string, SafetensorsHeader>()
  private readonly namesOf = new Map<string, string[]>()

  constructor(private readonly index: ShardIndex) {
    for (const shard of index.shards) this.namesOf.set(shard, [])
    for (const [name, shard] of index.shardOf) this.namesOf.get(shard)!.push(name)
  }

  get isComplete(): boolean {
    return this.headers.size === this.index.shards.length
  }

  set(shard: string, header: SafetensorsHeader): void {
    const isTied = (name: string) => this.index.shardOf.has(header.metadata.get(name) ?? this.index.metadata.get(name) ?? '')
    const absent = this.namesOf.get(shard)!.filter((name) => !header.tensors.has(name) && !isTied(name))
    if (absent.length > 0) {
      const named = absent.slice(0, 20).map(describe).join(', ')
      throw new RoutedAttentionError('BAD_FILE', `the index puts ${absent.length} tensors in ${shard} that it does not contain: ${named}`)
    }
    this.headers.set(shard, header)
  }

  /**
   * @throws ShardChanged if a shard's header, read again, lists other tensors: the file was modified meanwhile, and
   * results for its first header are invalid
   */
  checkUnchanged(shard: string, header: SafetensorsHeader): void {
    const first = this.headers.get(shard)!
    const described = ({ tensors, metadata }: SafetensorsHeader) => JSON.stringify([[...tensors], [...metadata]])
    if (described(header) !== described(first)) throw new ShardChanged(shard)
  }

  /** The combined metadata of the index and all shards. */
  private get metadata(): ReadonlyMap<string, string> {
    return new Map([this.index, ...this.headers.values()].flatMap(({ metadata }) => [...metadata]))
  }

  /** All tensors by all names. */
  merge(): ReadonlyMap<string, TensorInfo> {
    return withTied(this.stored(), this.metadata)
  }

  underAllNames(sink: TensorSink): TensorSink {
    return underAllNames(sink, this.stored(), this.metadata)
  }

  private stored(): ReadonlyMap<string, TensorInfo> {
    const merged = new Map<string, TensorInfo>()
    for (const [shard, { tensors }] of this.headers) {
      for (const [name, tensor] of tensors) {
        if (merged.has(name))
          throw new RoutedAttentionError('BAD_FILE', `tensor ${describe(name)} is in ${shard} and in another shard as well`)
        merged.set(name, tensor)
      }
    }
    return merged
  }
}
