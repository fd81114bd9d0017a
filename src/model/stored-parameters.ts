import type { ParameterSource } from '../device/device.js'
import { type StoredTensor, toFloat32 } from '../io/safetensors.js'

/** Converted parameters that stay at hand: each expert of a layer comes back for its part of the same few. */
const KEPT = 8

/** Values of stored tensors, widened to float32 when they are asked for. */
export function parameterSource(tensors: ReadonlyMap<string, StoredTensor>): ParameterSource {
  const kept = new Map<string, Float32Array>()
  return (name) => {
    let values = kept.get(name)
    if (!values) {
      values = toFloat32(tensors.get(name)!, name)
      if (kept.size === KEPT) kept.delete(kept.keys().next().value!)
      kept.set(name, values)
    }
    return values
  }
}
