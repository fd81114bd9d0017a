/**
 * A small safetensors reader for the tests, on its own so that what the package's reader gives can be held against it.
 * It trusts its input: these are files of this repository.
 */
export type StoredTensor = { shape: number[] } & (
  | { dtype: 'F32' | 'F16' | 'BF16'; data: Float32Array }
  | { dtype: 'F64'; data: Float64Array }
  | { dtype: 'I64'; data: BigInt64Array }
  | { dtype: 'I32'; data: Int32Array }
  | { dtype: 'U8'; data: Uint8Array }
)

interface HeaderEntry {
  dtype: string
  shape: number[]
  data_offsets: [number, number]
}

/** Every tensor of the file by name; float16 and bfloat16 values are widened to float32, exactly. */
export function readSafetensors(bytes: Uint8Array): Map<string, StoredTensor> {
  const headerLength = Number(new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true))
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + headerLength))) as Record<string, HeaderEntry>
  const payload = bytes.subarray(8 + headerLength)
  const tensors = new Map<string, StoredTensor>()
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(header)) {
    if (name === '__metadata__') continue
    // A copy of its own: offsets need not be multiples of the element size.
    const buffer = new Uint8Array(payload.subarray(...data_offsets)).buffer
    tensors.set(name, decode(name, dtype, shape, buffer))
  }
  return tensors
}

/** The tensor's values as float32, whatever floating-point dtype it is stored in. */
export function floatValues(tensor: StoredTensor): Float32Array {
  if (tensor.dtype === 'F64') return Float32Array.from(tensor.data)
  if (tensor.data instanceof Float32Array) return tensor.data
  throw new Error(`expected a floating-point tensor, got ${tensor.dtype}`)
}

function decode(name: string, dtype: string, shape: number[], buffer: ArrayBuffer): StoredTensor {
  switch (dtype) {
    case 'F64':
      return { dtype, shape, data: new Float64Array(buffer) }
    case 'F32':
      return { dtype, shape, data: new Float32Array(buffer) }
    case 'F16':
      return { dtype, shape, data: Float32Array.from(new Uint16Array(buffer), halfToFloat) }
    case 'BF16':
      // bfloat16 is the upper half of a float32.
      return { dtype, shape, data: new Float32Array(Uint32Array.from(new Uint16Array(buffer), (bits) => bits << 16).buffer) }
    case 'I64':
      return { dtype, shape, data: new BigInt64Array(buffer) }
    case 'I32':
      return { dtype, shape, data: new Int32Array(buffer) }
    case 'U8':
      return { dtype, shape, data: new Uint8Array(buffer) }
    default:
      throw new Error(`${name}: the tests' reader does not know dtype ${dtype}`)
  }
}

/** IEEE 754 binary16: 1 sign bit, 5 exponent bits (bias 15), 10 fraction bits. */
function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 0x1f
  const fraction = bits & 0x3ff
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}
