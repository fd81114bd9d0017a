/*
 * Writes model files of llama.cpp: GGUF, version 3. The vocabulary is a placeholder, since only token ids are used.
 */
import { closeSync, openSync, writeSync } from 'node:fs'

const ALIGNMENT = 32

/** Types of metadata values, as the file names them. */
export const U32 = 4
export const I32 = 5
export const F32 = 6
const BOOL = 7
const STRING = 8
const ARRAY = 9

const u32 = (value) => Buffer.from(Uint32Array.of(value).buffer)
const i32 = (value) => Buffer.from(Int32Array.of(value).buffer)
const f32 = (value) => Buffer.from(Float32Array.of(value).buffer)
const u64 = (value) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer)
const string = (value) => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)])
const encoders = { [U32]: u32, [I32]: i32, [F32]: f32, [BOOL]: (value) => Buffer.of(value ? 1 : 0), [STRING]: string }

const entry = (key, type, value) => Buffer.concat([string(key), u32(type), encoders[type](value)])
const list = (key, type, values) => Buffer.concat([string(key), u32(ARRAY), u32(type), u64(values.length), ...values.map(encoders[type])])

/** The first tokens of the vocabulary; 256 of single bytes follow. */
export const SPECIAL = ['<unk>', '<s>', '</s>']
export const BYTES = 256

function vocabularyEntries(vocabulary) {
  const bytes = Array.from({ length: BYTES }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`)
  const words = Array.from({ length: vocabulary - SPECIAL.length - bytes.length }, (_, i) => `w${i}`)
  const tokens = [...SPECIAL, ...bytes, ...words]
  // of tokens: 1 normal, 2 unknown, 3 control, 6 a byte
  const types = [2, 3, 3, ...bytes.map(() => 6), ...words.map(() => 1)]
  const scores = tokens.map((_, i) => -i)
  return [
    entry('tokenizer.ggml.model', STRING, 'llama'),
    list('tokenizer.ggml.tokens', STRING, tokens),
    list('tokenizer.ggml.scores', F32, scores),
    list('tokenizer.ggml.token_type', I32, types),
    entry('tokenizer.ggml.unknown_token_id', U32, 0),
    entry('tokenizer.ggml.bos_token_id', U32, 1),
    entry('tokenizer.ggml.eos_token_id', U32, 2),
    entry('tokenizer.ggml.add_bos_token', BOOL, false),
    entry('tokenizer.ggml.add_space_prefix', BOOL, false),
  ]
}

/** How matrices are stored: ggml's type, and the bytes of one tensor. */
const FORMATS = {
  f32: { type: 0, encode: (values) => Buffer.from(values.buffer, values.byteOffset, values.byteLength) },
  q8_0: { type: 8, encode: quantize },
}
const BLOCK = 32

/** Blocks of 32: a float16 scale, then 32 bytes. */
function quantize(values) {
  const blocks = Buffer.alloc((values.length / BLOCK) * (BLOCK + 2))
  for (let block = 0, at = 0; block < values.length; block += BLOCK, at += BLOCK + 2) {
    let largest = 0
    for (let i = 0; i < BLOCK; i++) largest = Math.max(largest, Math.abs(values[block + i]))
    const half = toHalf(largest / 127)
    blocks.writeUInt16LE(half, at)
    const scale = fromHalf(half)
    for (let i = 0; i < BLOCK; i++)
      blocks.writeInt8(scale === 0 ? 0 : Math.max(-127, Math.min(127, Math.round(values[block + i] / scale))), at + 2 + i)
  }
  return blocks
}

/** Normal, positive float16 only, rounded up, so that no value exceeds 127 scales. */
function toHalf(value) {
  if (value === 0) return 0
  const exponent = Math.floor(Math.log2(value))
  const mantissa = Math.ceil((value / 2 ** exponent - 1) * 1024)
  return ((exponent + 15) << 10) + mantissa
}

const fromHalf = (half) => (half === 0 ? 0 : 2 ** ((half >> 10) - 15) * (1 + (half & 1023) / 1024))

const padding = (length) => Buffer.alloc((ALIGNMENT - (length % ALIGNMENT)) % ALIGNMENT)

/**
 * Writes a model.
 * @param {string} file
 * @param {{ architecture: string, vocabulary: number, dim: number, sizes: [key: string, type: number, value: number][],
 *   tensors: Iterable<{ name: string, shape: number[], values: Float32Array, isMatrix: boolean }> }} model sizes: metadata
 * whose keys stand behind the architecture's name; tensors: shapes as llama.cpp has them, inputs first
 * @param {'f32' | 'q8_0'} format of matrices; all else is float32
 */
export function writeGguf(file, { architecture, vocabulary, dim, sizes, tensors }, format, contextLength = 131072) {
  const contents = Array.from(tensors, ({ name, shape, values, isMatrix }) => {
    const { type, encode } = FORMATS[isMatrix && shape[0] % BLOCK === 0 ? format : 'f32']
    const bytes = encode(values)
    return { name, shape, type, bytes: Buffer.concat([bytes, padding(bytes.length)]) }
  })
  let offset = 0
  const infos = contents.map(({ name, shape, type, bytes }) => {
    const info = Buffer.concat([string(name), u32(shape.length), ...shape.map(u64), u32(type), u64(offset)])
    offset += bytes.length
    return info
  })
  const entries = [
    entry('general.architecture', STRING, architecture),
    entry('general.name', STRING, `${architecture} of random weights`),
    entry('general.alignment', U32, ALIGNMENT),
    ...[['context_length', U32, contextLength], ['embedding_length', U32, dim], ['vocab_size', U32, vocabulary], ...sizes].map(
      ([key, type, value]) => entry(`${architecture}.${key}`, type, value),
    ),
    ...vocabularyEntries(vocabulary),
  ]
  const header = Buffer.concat([Buffer.from('GGUF'), u32(3), u64(contents.length), u64(entries.length), ...entries, ...infos])
  const descriptor = openSync(file, 'w')
  for (const part of [header, padding(header.length), ...contents.map(({ bytes }) => bytes)]) writeSync(descriptor, part)
  closeSync(descriptor)
}
