import { describe, RoutedAttentionError } from '../errors.js'
import { isUint8Array } from '../realm.js'
import { Tensor } from '../tensor.js'
import { bfloat16ToFloat32, float16ToFloat32 } from '../half.js'
import { foreignFormat } from './foreign-format.js'
import { decodeUtf8, MAX_JSON_BYTES } from './json.js'
import { JsonReader } from './json-reader.js'
import { withTied } from './tied-tensors.js'

/** A tensor's entry in a safetensors header. */
export interface TensorInfo {
  /** As the format spells it: F32, F16, BF16, F64, I64, … */
  readonly dtype: string
  readonly shape: readonly number[]
}

/** A tensor as stored in its file: little-endian, row-major. */
export interface StoredTensor extends TensorInfo {
  /** A view of the file's bytes, at any alignment. */
  readonly bytes: Uint8Array
}

/** Position of a tensor's bytes, relative to the end of the header. */
export interface TensorLocation extends TensorInfo {
  readonly begin: number
  readonly end: number
}

export interface SafetensorsHeader {
  /** Offset of the first tensor byte in the file. */
  readonly bodyOffset: number
  /** Size of the file in bytes. */
  readonly fileLength: number
  readonly tensors: ReadonlyMap<string, TensorLocation>
  /** Metadata from the writer: strings by name. */
  readonly metadata: ReadonlyMap<string, string>
}

/** Size of the field that holds the header's length. */
export const LENGTH_BYTES = 8

/** Bits per element of every dtype in the format. */
const DTYPES = {
  4: 'F4',
  6: 'F6_E2M3 F6_E3M2',
  8: 'BOOL U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ',
  16: 'I16 U16 F16 BF16',
  32: 'I32 U32 F32',
  64: 'C64 F64 I64 U64',
}
const BITS = new Map(Object.entries(DTYPES).flatMap(([bits, names]) => names.split(' ').map((name) => [name, Number(bits)] as const)))

/**
 * Reads a safetensors file. Accepts what the safetensors library (0.8) accepts, except for an array in place of a
 * tensor's object.
 * @returns tensors by name, in file order, followed by those tied to one of them; their bytes are views of `bytes`
 * @throws RoutedAttentionError `BAD_FILE` for anything that violates the format, `BAD_ARGUMENT` if `bytes` is not a
 * Uint8Array
 */
export function parseSafetensors(bytes: Uint8Array, what = 'the safetensors file'): ReadonlyMap<string, StoredTensor> {
  if (!isUint8Array(bytes)) throw new RoutedAttentionError('BAD_ARGUMENT', `${what} must be a Uint8Array, got ${describe(bytes)}`)
  const header = parseSafetensorsHeader(bytes, bytes.length, what)
  const body = bytes.subarray(header.bodyOffset)
  const tensors = new Map<string, StoredTensor>()
  for (const [name, { dtype, shape, begin, end }] of header.tensors) tensors.set(name, { dtype, shape, bytes: body.subarray(begin, end) })
  return withTied(tensors, header.metadata)
}

/**
 * Reads the header's length from a file's first 8 bytes.
 * @throws RoutedAttentionError `BAD_FILE` if they are missing, or the length is above 100 MB or exceeds the file
 */
export function safetensorsHeaderLength(bytes: Uint8Array, fileLength: number | undefined, what: string): number {
  if (bytes.length < LENGTH_BYTES) throw broken(what, `it has ${bytes.length} bytes, and the header's length alone takes ${LENGTH_BYTES}`)
  const length = new DataView(bytes.buffer, bytes.byteOffset, LENGTH_BYTES).getBigUint64(0, true)
  if (length > BigInt(MAX_JSON_BYTES)) throw broken(what, `its header would have ${length} bytes, more than ${MAX_JSON_BYTES}`, bytes)
  const end = LENGTH_BYTES + Number(length)
  if (fileLength !== undefined && end > fileLength) throw broken(what, `its header would end at byte ${end} of ${fileLength}`, bytes)
  return Number(length)
}

/**
 * Reads only the header, so that a file can be rejected without reading the rest.
 * @param bytes the start of the file: at least the 8 bytes of the length, and the header
 * @param fileLength size of the whole file; not checked if undefined
 * @throws RoutedAttentionError `BAD_FILE`
 */
export function parseSafetensorsHeader(
  bytes: Uint8Array,
  fileLength: number | undefined,
  what = 'the safetensors file',
): SafetensorsHeader {
  const bodyOffset = LENGTH_BYTES + safetensorsHeaderLength(bytes, Math.min(fileLength ?? bytes.length, bytes.length), what)
  const { tensors, metadata } = readHeader(decodeUtf8(bytes.subarray(LENGTH_BYTES, bodyOffset), `the header of ${what}`, true), what)
  const sorted = inFileOrder(tensors)
  let expected = 0
  for (const [name, tensor] of sorted) {
    const { begin, end, dtype, shape } = tensor
    if (begin !== expected || end < begin) {
      throw broken(what, `tensor ${describe(name)} lies at bytes ${begin} to ${end}, where one beginning at ${expected} was expected`)
    }
    const size = byteSize(tensor)
    if (size !== end - begin) {
      const needs = size === undefined ? 'no whole number of bytes below 2^50' : `${size} bytes`
      throw broken(
        what,
        `tensor ${describe(name)} of ${dtype} [${shape.slice(0, 8).join(', ')}] needs ${needs}, and its offsets give it ${end - begin}`,
      )
    }
    expected = end
    if (shape.some((length) => typeof length === 'bigint')) tensor.shape = shape.map(Number) // allowed only next to a zero
  }
  const needed = bodyOffset + expected
  if (fileLength !== undefined && fileLength !== needed)
    throw broken(what, `its header describes ${needed} bytes, and it has ${fileLength}`)
  return { bodyOffset, fileLength: needed, tensors: sorted as Map<string, TensorLocation>, metadata }
}

/**
 * Converts a parameter's values: F32, F16 and BF16 exactly, F64 rounded to nearest.
 * @returns a copy
 * @throws RoutedAttentionError `BAD_WEIGHTS` for any other dtype
 */
export function toFloat32(stored: StoredTensor, name: string): Float32Array {
  if (!isFloatDtype(stored.dtype)) {
    throw new RoutedAttentionError('BAD_WEIGHTS', `parameter ${name} must be F32, F16, BF16 or F64, got ${stored.dtype}; convert it first`)
  }
  const { buffer } = new Uint8Array(stored.bytes) // copying to byte 0 of a new buffer aligns it
  if (stored.dtype === 'F32') return new Float32Array(buffer)
  if (stored.dtype === 'F64') return new Float32Array(new Float64Array(buffer))
  const halves = new Uint16Array(buffer)
  return stored.dtype === 'F16' ? float16ToFloat32(halves) : bfloat16ToFloat32(halves)
}

/** Whether `toFloat32` supports a dtype. */
export function isFloatDtype(dtype: string): boolean {
  return ['F32', 'F16', 'BF16', 'F64'].includes(dtype)
}

interface DeclaredTensor {
  dtype: string
  shape: (number | bigint)[]
  begin: number
  end: number
}

function readHeader(text: string, what: string): { tensors: Map<string, DeclaredTensor>; metadata: Map<string, string> } {
  const reader = new JsonReader(text, `the header of ${what}`)
  const tensors = new Map<string, DeclaredTensor>()
  const metadata = new Map<string, string>()
  let metadataSeen = false
  reader.object((name) => {
    if (name !== '__metadata__') {
      tensors.set(name, readTensor(reader, name, what)) // as in the library, the last entry of a repeated name wins
      return
    }
    if (metadataSeen) throw broken(what, 'its header has __metadata__ twice')
    metadataSeen = true
    if (!reader.acceptNull()) reader.object((key) => metadata.set(key, reader.string()))
  })
  reader.end()
  return { tensors, metadata }
}

function readTensor(reader: JsonReader, name: string, what: string): DeclaredTensor {
  let dtype: string | undefined
  let shape: (number | bigint)[] | undefined
  let offsets: (number | bigint)[] | undefined
  const integers = () => {
    const values: (number | bigint)[] = []
    reader.array(() => values.push(reader.unsigned()))
    return values
  }
  reader.object((field) => {
    const earlier = field === 'dtype' ? dtype : field === 'shape' ? shape : field === 'data_offsets' ? offsets : undefined
    if (earlier !== undefined) throw broken(what, `tensor ${describe(name)} has ${field} twice`)
    if (field === 'dtype') dtype = reader.string()
    else if (field === 'shape') shape = integers()
    else if (field === 'data_offsets') offsets = integers()
    else reader.skip()
  })
  if (dtype === undefined || !BITS.has(dtype)) throw broken(what, `tensor ${describe(name)} has the unknown dtype ${describe(dtype)}`)
  if (shape === undefined) throw broken(what, `tensor ${describe(name)} has no shape`)
  const [begin, end] = offsets ?? []
  if (offsets?.length !== 2 || typeof begin !== 'number' || typeof end !== 'number') {
    throw broken(what, `tensor ${describe(name)} must have two data_offsets within the file`)
  }
  return { dtype, shape, begin, end }
}

/** Writers order names bytewise, so usually nothing needs sorting. */
function inFileOrder(tensors: Map<string, DeclaredTensor>): Map<string, DeclaredTensor> {
  const compare = (a: DeclaredTensor, b: DeclaredTensor) => a.begin - b.begin || a.end - b.end
  let previous: DeclaredTensor | undefined
  for (const tensor of tensors.values()) {
    if (previous && compare(previous, tensor) > 0) return new Map([...tensors].sort(([, a], [, b]) => compare(a, b)))
    previous = tensor
  }
  return tensors
}

/**
 * Size of a tensor's values in bytes. Undefined if bits are left over, or there are more bytes than any file has: 2^53,
 * or 2^64 for an intermediate product, even if a later factor is zero.
 */
export function byteSize({ dtype, shape }: { readonly dtype: string; readonly shape: readonly (number | bigint)[] }): number | undefined {
  let bits: number | bigint = 1
  for (let axis = 0; axis <= shape.length; axis++) {
    const length = shape[axis] ?? BITS.get(dtype)!
    const product: number = Number(bits) * Number(length)
    bits = Number.isSafeInteger(product) ? product : BigInt(bits) * BigInt(length)
    if (bits >= 2n ** 64n) return undefined
  }
  return typeof bits === 'number' && bits % 8 === 0 ? bits / 8 : undefined
}

/** @param bytes the start of the file, which may reveal what it is instead */
function broken(what: string, why: string, bytes?: Uint8Array): RoutedAttentionError {
  const foreign = bytes && foreignFormat(bytes)
  const told = foreign === undefined ? `is not a whole safetensors file: ${why}` : `is not a safetensors file but ${foreign} (${why})`
  return new RoutedAttentionError('BAD_FILE', `${what} ${told}`)
}

/**
 * Reads the float tensors of a safetensors file, widened to float32, as `loadStateDict` accepts them.
 * @throws RoutedAttentionError `BAD_FILE` if the bytes are not such a file, `BAD_WEIGHTS` for a tensor whose dtype is
 * not F16, BF16, F32 or F64
 */
export function readSafetensors(bytes: Uint8Array): Map<string, Tensor> {
  return new Map([...parseSafetensors(bytes)].map(([name, stored]) => [name, new Tensor(toFloat32(stored, name), stored.shape)]))
}
