import { RoutedAttentionError } from '../../errors.js'
import { type StoredTensor, toFloat32 } from '../../io/safetensors.js'
import { modelParameters } from '../../plan/parameters.js'
import type { ModelConfig } from '../config/config.js'
import type { StoredSpec } from '../parameters/state-dict.js'
import { type Int8Rows, quantizeRows } from './int8.js'

/** Default bits of activations: 14 cost a third of the speed and are worth 0.002 to 0.005 bits a token. */
export const DEFAULT_ACTIVATION_BITS = 7

/**
 * Rounds rows of a float parameter to int8.
 * @param rows how many the tensor has
 * @throws RoutedAttentionError `BAD_WEIGHTS` for a value that is not finite
 */
export function quantizeParameter(name: string, tensor: StoredTensor, rows: number): Int8Rows {
  const values = toFloat32(tensor, name)
  if (values.every(Number.isFinite)) return quantizeRows(values, rows)
  throw new RoutedAttentionError('BAD_WEIGHTS', `${name} is not finite everywhere, so it cannot be rounded to int8`, { names: [name] })
}

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

/**
 * @param first row of the first of these scales
 * @throws RoutedAttentionError `BAD_WEIGHTS` for a scale that is not positive and finite
 */
export function checkScales(name: string, first: number, scales: Float32Array): void {
  const at = scales.findIndex((scale) => !(scale > 0 && scale < Infinity))
  if (at < 0) return
  const message = `${name} must hold positive, finite scales; that of row ${first + at} is ${scales[at]}`
  throw new RoutedAttentionError('BAD_WEIGHTS', message, { names: [name] })
}
