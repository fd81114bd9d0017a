import { RoutedAttentionError } from '../../errors.js'
import { type StoredTensor, toFloat32 } from '../../io/safetensors.js'
import { modelParameters } from '../../plan/parameters.js'
import type { ModelConfig } from '../config/config.js'
import type { StoredSpec } from '../parameters/state-dict.js'
import { dequantizeRows } from './int8.js'

/** The name of the scales of an int8 parameter. */
export function scaleName(name: string): string {
  return `${name}_scale`
}

/** The scales' shape, one for each row, that broadcasts to the parameter's: (rows, 1), or (rows, 1, 1). */
export function scaleShape(shape: readonly number[]): number[] {
  return shape.map((length, axis) => (axis === 0 ? length : 1))
}

/** What a model's file must hold. */
export function storedSpecs(config: ModelConfig): StoredSpec[] {
  const parameters = modelParameters(config)
  if (config.quantization === undefined) return parameters
  return parameters.flatMap((parameter): StoredSpec[] => {
    const { name, shape, isQuantizable } = parameter
    if (!isQuantizable) return [parameter]
    return [
      { name, shape, dtype: 'I8' },
      { name: scaleName(name), shape: scaleShape(shape), dtype: 'F32' },
    ]
  })
}

/** The float32 values of an int8 parameter. */
export function widenedValues(tensors: ReadonlyMap<string, StoredTensor>, name: string): Float32Array {
  const { bytes } = tensors.get(name)!
  const scales = toFloat32(tensors.get(scaleName(name))!, scaleName(name))
  return dequantizeRows({ values: new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length), scales })
}

/** @throws RoutedAttentionError `BAD_WEIGHTS` for a scale that is not positive and finite */
export function checkScales(config: ModelConfig, tensors: ReadonlyMap<string, StoredTensor>): void {
  if (config.quantization === undefined) return
  for (const [name, tensor] of tensors) {
    if (!name.endsWith('_scale')) continue
    const scales = toFloat32(tensor, name)
    const row = scales.findIndex((scale) => !(scale > 0 && scale < Infinity))
    if (row >= 0) {
      throw new RoutedAttentionError('BAD_WEIGHTS', `${name} must hold positive, finite scales; that of row ${row} is ${scales[row]}`, {
        names: [name],
      })
    }
  }
}
