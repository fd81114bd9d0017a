import { describe, RoutedAttentionError } from '../errors.js'
import { parseJson } from './json.js'

/** The contents of model.safetensors.index.json. */
export interface ShardIndex {
  /** Shard by tensor name. */
  readonly shardOf: ReadonlyMap<string, string>
  /** Every shard once, in order of first mention. */
  readonly shards: readonly string[]
  /** Total bytes of all tensors, if given; used for progress only. */
  readonly totalSize: number | undefined
  /** Other metadata from the writer: strings by name. */
  readonly metadata: ReadonlyMap<string, string>
}

/**
 * @throws RoutedAttentionError `BAD_FILE` if it is not JSON, has no `weight_map`, or names a shard that is not a plain
 * file name
 */
export function parseShardIndex(bytes: Uint8Array, what = 'model.safetensors.index.json'): ShardIndex {
  const json = parseJson(bytes, what)
  const map = property(json, 'weight_map')
  if (!isObject(map))
    throw new RoutedAttentionError('BAD_FILE', `${what} must have a weight_map of tensor names to shards, got ${describe(map)}`)
  const shardOf = new Map<string, string>()
  for (const [name, shard] of Object.entries(map)) {
    if (!isPlainFileName(shard)) {
      throw new RoutedAttentionError(
        'BAD_FILE',
        `${what} puts tensor ${describe(name)} in ${describe(shard)}; a shard must be a plain file name in the same folder`,
      )
    }
    shardOf.set(name, shard)
  }
  const metadata = property(json, 'metadata')
  const totalSize = property(metadata, 'total_size')
  return {
    shardOf,
    shards: [...new Set(shardOf.values())],
    totalSize: Number.isSafeInteger(totalSize) && (totalSize as number) >= 0 ? (totalSize as number) : undefined,
    metadata: new Map(
      isObject(metadata) ? Object.entries(metadata).filter((entry): entry is [string, string] => typeof entry[1] === 'string') : [],
    ),
  }
}

/** No folder, drive or stream: nothing that a file system or a URL would interpret as more than a name. */
function isPlainFileName(name: unknown): name is string {
  return (
    typeof name === 'string' && name.length <= 255 && !/^\.{0,2}$|[/\\:\u0000-\u001f\u007f]/.test(name) && !/[\ud800-\udfff]/u.test(name)
  )
}

function property(value: unknown, key: string): unknown {
  return isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
