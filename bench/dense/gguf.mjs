/*
 * Writes the dense transformer as a GGUF file (version 3), for llama.cpp and wllama.
 */
import { closeSync, openSync, writeSync } from 'node:fs'
import { BYTES, dense, SPECIAL, weights } from './weights.mjs'

const ALIGNMENT = 32
const U32 = 4
const I32 = 5
const F32 = 6
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

/** How values are stored: [ggml's type, the bytes of one tensor]. */
const formats = {
  f32: [0, (values) => Buffer.from(values.buffer)],
  q8_0: [8, quantise],
}

/** Blocks of 32: a float16 scale, then 32 bytes. */
function quantise(values) {
  const blocks = Buffer.alloc((values.length / 32) * 34)
  for (let block = 0, at = 0; block < values.length; block += 32, at += 34) {
    let largest = 0
    for (let i = 0; i < 32; i++) largest = Math.max(largest, Math.abs(values[block + i]))
    const half = toHalf(largest / 127)
    blocks.writeUInt16LE(half, at)
    const scale = fromHalf(half)
    for (let i = 0; i < 32; i++)
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

function metadata(contextLength) {
  const { vocabulary, dim, layers, heads, dimHead, hidden, normEpsilon, rotaryBase } = dense
  const bytes = Array.from({ length: BYTES }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`)
  const words = Array.from({ length: vocabulary - SPECIAL.length - bytes.length }, (_, i) => `w${i}`)
  // of tokens: 1 normal, 2 unknown, 3 control, 6 a byte
  const types = [2, 3, 3, ...bytes.map(() => 6), ...words.map(() => 1)]
  const pieces = [...SPECIAL, ...bytes, ...words]
  return [
    entry('general.architecture', STRING, 'llama'),
    entry('general.name', STRING, 'a dense transformer of random weights'),
    entry('general.alignment', U32, ALIGNMENT),
    entry('llama.context_length', U32, contextLength),
    entry('llama.embedding_length', U32, dim),
    entry('llama.block_count', U32, layers),
    entry('llama.feed_forward_length', U32, hidden),
    entry('llama.attention.head_count', U32, heads),
    entry('llama.attention.head_count_kv', U32, heads),
    entry('llama.attention.layer_norm_rms_epsilon', F32, normEpsilon),
    entry('llama.rope.dimension_count', U32, dimHead),
    entry('llama.rope.freq_base', F32, rotaryBase),
    entry('llama.vocab_size', U32, vocabulary),
    entry('tokenizer.ggml.model', STRING, 'llama'),
    list('tokenizer.ggml.tokens', STRING, pieces),
    list(
      'tokenizer.ggml.scores',
      F32,
      pieces.map((_, i) => -i),
    ),
    list('tokenizer.ggml.token_type', I32, types),
    entry('tokenizer.ggml.unknown_token_id', U32, 0),
    entry('tokenizer.ggml.bos_token_id', U32, 1),
    entry('tokenizer.ggml.eos_token_id', U32, 2),
    entry('tokenizer.ggml.add_bos_token', BOOL, false),
    entry('tokenizer.ggml.add_space_prefix', BOOL, false),
  ]
}

const padding = (length) => Buffer.alloc((ALIGNMENT - (length % ALIGNMENT)) % ALIGNMENT)

/** @param format 'f32' or 'q8_0'; vectors are float32 in both */
export function writeGguf(file, format, contextLength = 131072) {
  const contents = Array.from(weights(), ({ name, shape, values }) => {
    const [type, encode] = formats[shape.length === 1 ? 'f32' : format]
    const bytes = encode(values)
    return { name: `${name}.weight`, shape, type, bytes: Buffer.concat([bytes, padding(bytes.length)]) }
  })
  let offset = 0
  const infos = contents.map(({ name, shape, type, bytes }) => {
    const info = Buffer.concat([string(name), u32(shape.length), ...shape.map(u64), u32(type), u64(offset)])
    offset += bytes.length
    return info
  })
  const entries = metadata(contextLength)
  const header = Buffer.concat([Buffer.from('GGUF'), u32(3), u64(contents.length), u64(entries.length), ...entries, ...infos])
  const descriptor = openSync(file, 'w')
  for (const part of [header, padding(header.length), ...contents.map(({ bytes }) => bytes)]) writeSync(descriptor, part)
  closeSync(descriptor)
}
