import { type ByteScanner, float32Values, type ParameterValues, WeightFormat } from '../../device/device.js'
import { isFiniteFloat16 } from '../../half.js'
import { type StoredTensor, toFloat32 } from '../../io/safetensors.js'

const FORMATS: Readonly<Record<string, WeightFormat>> = {
  F32: WeightFormat.Float32,
  F16: WeightFormat.Float16,
  BF16: WeightFormat.Bfloat16,
}

/** A stored tensor's values as they lie in the file, or as float32 where kernels read no such format. */
export function storedValues(tensor: StoredTensor, name: string): ParameterValues {
  const format = FORMATS[tensor.dtype]
  return format === undefined ? float32Values(toFloat32(tensor, name)) : { format, bytes: tensor.bytes }
}

/** How a tensor of a type is kept in memory, unless its values forbid it. */
export function formatOf(dtype: string): WeightFormat {
  return FORMATS[dtype] ?? WeightFormat.Float32
}

/** Bytes that are looked through at a time: some milliseconds' worth. */
const PART_BYTES = 1 << 22

/**
 * How each tensor is kept in memory: as it came, unless it is float16 with infinities or NaN, which kernels do not
 * widen.
 */
export function* packedFormats(
  tensors: ReadonlyMap<string, StoredTensor>,
  scanner: Pick<ByteScanner, 'isFiniteFloat16'> = { isFiniteFloat16 },
): Generator<void, (name: string) => WeightFormat> {
  const formats = new Map<string, WeightFormat>()
  for (const [name, { dtype, bytes }] of tensors) {
    let format = formatOf(dtype)
    for (let from = 0; format === WeightFormat.Float16 && from < bytes.length; from += PART_BYTES) {
      if (!scanner.isFiniteFloat16(bytes.subarray(from, from + PART_BYTES))) format = WeightFormat.Float32
      yield
    }
    formats.set(name, format)
  }
  return (name) => formats.get(name)!
}
