import type { TensorInfo } from '../../io/safetensors.js'
import type { ModelConfig } from '../config/config.js'
import { Checksum } from './checksum.js'

/**
 * Identifies a model by its configuration and weights: the same files give the same bytes, however they are sharded and
 * wherever they run.
 * @param checksums of the tensors' bytes, by the same names as `tensors`
 */
export function fingerprintOf(
  config: ModelConfig,
  tensors: ReadonlyMap<string, TensorInfo>,
  checksums: ReadonlyMap<string, Uint8Array>,
): Uint8Array {
  const { layer, ...model } = config
  const lines = [layer, model].map((part) => JSON.stringify(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1))))
  for (const name of [...tensors.keys()].sort()) {
    const { dtype, shape } = tensors.get(name)!
    lines.push([name, dtype, ...shape, ...checksums.get(name)!].join(' '))
  }
  return new Checksum().update(new TextEncoder().encode(lines.join('\n'))).digest()
}
