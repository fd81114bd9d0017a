import type { ByteScanner } from '../../device/device.js'
import type { StoredTensor } from '../../io/safetensors.js'
import { Checksum } from './checksum.js'
import type { ModelConfig } from '../config/config.js'

/**
 * Identifies a model by its configuration and weights: the same files give the same bytes, however they are sharded and
 * wherever they run. Computed in steps of a few milliseconds.
 */
export function* fingerprintOf(
  config: ModelConfig,
  tensors: ReadonlyMap<string, StoredTensor>,
  scanner?: ByteScanner,
): Generator<void, Uint8Array> {
  const checksum = new Checksum(scanner)
  const text = new TextEncoder()
  const { layer, ...model } = config
  for (const part of [layer, model]) checksum.update(text.encode(JSON.stringify(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))))
  for (const name of [...tensors.keys()].sort()) {
    const { dtype, shape, bytes } = tensors.get(name)!
    checksum.update(text.encode(`${name} ${dtype} ${shape.join(' ')}`))
    yield* checksum.updateInParts(bytes)
  }
  return checksum.digest()
}
