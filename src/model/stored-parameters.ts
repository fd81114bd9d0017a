import { type ByteScanner, float32Values, type ParameterValues, WeightFormat } from '../device/device.js'
import { isFiniteFloat16 } from '../half.js'
import { type StoredTensor, toFloat32 } from '../io/safetensors.js'

const FORMATS: Readonly<Record<string, WeightFormat>> = {
  F32: WeightFormat.Float32,
  F16: WeightFormat.Float16,
  BF16: WeightFormat.Bfloat16,
}

/** A stored tensor's values as they lie in the file, or as float32 where the device knows no such format, or keeps none. */
export function storedValues(tensor: StoredTensor, name: string, keepsFormats: boolean): ParameterValues {
  const format = keepsFormats || tensor.dtype === 'F32' ? FORMATS[tensor.dtype] : undefined
  return format === undefined ? float32Values(toFloat32(tensor, name)) : { format, bytes: tensor.bytes }
}

/** How a tensor of a type is kept in memory, unless its values forbid it. */
export function formatOf(dtype: string): WeightFormat {
  return FORMATS[dtype] ?? WeightFormat.Float32
}

/** How each tensor is kept in memory: as it came, unless it is float16 with infinities or NaN, which kernels do not widen. */
export function packedFormats(
  tensors: ReadonlyMap<string, StoredTensor>,
  scanner: Pick<ByteScanner, 'isFiniteFloat16'> = { isFiniteFloat16 },
): (name: string) => WeightFormat {
  const known = new Map<string, WeightFormat>()
  return (name) => {
    let format = known.get(name)
    if (format === undefined) {
      const { dtype, bytes } = tensors.get(name)!
      format = formatOf(dtype)
      if (format === WeightFormat.Float16 && !scanner.isFiniteFloat16(bytes)) format = WeightFormat.Float32
      known.set(name, format)
    }
    return format
  }
}
