import { type ByteScanner, float32Values, type ParameterValues, WeightFormat } from '../../device/device.js'
import { isFiniteFloat16 } from '../../half.js'
import { type StoredTensor, toFloat32 } from '../../io/safetensors.js'
import { widenedValues } from '../quantization/quantized-parameters.js'

const FORMATS: Readonly<Record<string, WeightFormat>> = {
  F32: WeightFormat.Float32,
  F16: WeightFormat.Float16,
  BF16: WeightFormat.Bfloat16,
}

/** A parameter's values as they lie in the file, or as float32 where kernels read no such format. */
export function storedValues(tensors: ReadonlyMap<string, StoredTensor>, name: string): ParameterValues {
  const tensor = tensors.get(name)!
  if (tensor.dtype === 'I8') return float32Values(widenedValues(tensors, name))
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
 * Names of the float16 tensors with infinities or NaN, which kernels do not widen: they are kept as float32. In parts,
 * each of some milliseconds.
 */
export function* nonFiniteHalves(
  tensors: ReadonlyMap<string, StoredTensor>,
  scanner: Pick<ByteScanner, 'isFiniteFloat16'> = { isFiniteFloat16 },
): Generator<void, ReadonlySet<string>> {
  const found = new Set<string>()
  for (const [name, { dtype, bytes }] of tensors) {
    if (formatOf(dtype) !== WeightFormat.Float16) continue
    for (let from = 0; from < bytes.length && !found.has(name); from += PART_BYTES) {
      if (!scanner.isFiniteFloat16(bytes.subarray(from, from + PART_BYTES))) found.add(name)
      yield
    }
  }
  return found
}
