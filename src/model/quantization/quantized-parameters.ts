import { RoutedAttentionError } from '../../errors.js'
import { modelParameters } from '../../plan/parameters.js'
import type { ModelConfig } from '../config/config.js'
import type { StoredSpec } from '../parameters/state-dict.js'

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
