import { describe, RoutedAttentionError } from '../errors.js'
import { checkOptions, namesOf } from '../options.js'
import { isUint8Array } from '../realm.js'
import { parseJson } from './json.js'
import { ByteCodec } from './tokenizer/byte-codec.js'
import { toWellFormed } from './tokenizer/char-set.js'
import { type Codec, type Encoding } from './tokenizer/codec.js'
import { FileCodec } from './tokenizer/file-codec.js'

/** Options of `encode` and `encodeStream`. */
export interface EncodeOptions {
  /**
   * Whether special tokens written out in the text are recognised. If false they are plain text: no special token is
   * produced, except the one for unknown text. Default true.
   */
  allowSpecial?: boolean | undefined
}

/** Converts between text and token ids, as tokenizer.json defines or by UTF-8 bytes. */
export interface Tokenizer {
  /**
   * Encodes a text. Special tokens written out in it are recognised unless `allowSpecial` is false; none is added
   * around it. Unpaired surrogates count as U+FFFD.
   * @throws RoutedAttentionError `BAD_ARGUMENT` for anything but a string, or for text the vocabulary cannot express;
   * `UNSUPPORTED` if the file's patterns and replacements take more than 1,000 steps per character
   */
  encode(text: string, options?: EncodeOptions): number[]
  /**
   * Encodes a text that arrives in chunks, cut anywhere. Yields in total the ids of `encode` for the whole text, using
   * memory for a chunk and the longest pre-token.
   * @throws RoutedAttentionError when called: `BAD_ARGUMENT`, or `UNSUPPORTED` for a tokenizer that never splits a
   * text. While iterating: as `encode`; `BAD_ARGUMENT` for a chunk that is not a string or a pre-token beyond 1 MiB;
   * and whatever the chunks throw
   */
  encodeStream(chunks: AsyncIterable<string> | Iterable<string>, options?: EncodeOptions): AsyncGenerator<Int32Array, void, undefined>
  /**
   * Decodes token ids, including special tokens; invalid UTF-8 becomes U+FFFD.
   * @param ids an array or an integer typed array; ids that tokenizer.json does not list have no text
   * @throws RoutedAttentionError `BAD_ARGUMENT` for anything else, or for an id outside the model's vocabulary
   */
  decode(ids: ArrayLike<number>): string
}

/** A tokenizer with what a model needs in addition. */
export interface ModelTokenizer extends Tokenizer {
  /** All ids are below this. */
  readonly size: number
  /**
   * The bytes a token adds to the text, if text is the concatenation of the tokens' bytes (byte-level vocabularies);
   * otherwise undefined.
   * @throws RoutedAttentionError `BAD_ARGUMENT` as `decode`
   */
  tokenBytes(id: number): Uint8Array | undefined
  /**
   * Whether the tokenizer has a token with this id: a model may have more ids, which decoding skips.
   * @throws RoutedAttentionError `BAD_ARGUMENT` as `decode`
   */
  isNamed(id: number): boolean
  /**
   * Whether a token is one byte of a run that is decoded as a whole (`ByteFallback`), so that its text is final only
   * once the run has ended.
   */
  isByteToken(id: number): boolean
}

const FILE = 'tokenizer.json'

/**
 * Creates a tokenizer from a tokenizer.json in Hugging Face's format.
 * @param json the file's bytes or text
 * @param numTokens size of the model's vocabulary: ids below it are valid even if the file lists fewer
 * @throws RoutedAttentionError `BAD_FILE` if it is broken or of a kind that Hugging Face's library does not know;
 * `UNSUPPORTED`, naming the component, if it has one that could not reproduce that library's ids here; `BAD_ARGUMENT`
 * if it is neither bytes nor text
 */
export async function createTokenizer(json: Uint8Array | string, numTokens = 0): Promise<ModelTokenizer> {
  if (typeof json !== 'string' && !isUint8Array(json)) {
    throw new RoutedAttentionError('BAD_ARGUMENT', `${FILE} must be given as a Uint8Array or a string, got ${describe(json)}`)
  }
  return new CodecTokenizer(FileCodec.read(parseJson(typeof json === 'string' ? new TextEncoder().encode(json) : json, FILE), numTokens))
}

/**
 * Creates a tokenizer whose ids are UTF-8 bytes.
 * @param numTokens size of the model's vocabulary, at least 256; ids from 256 up have no text
 */
export function createByteTokenizer(numTokens: number): ModelTokenizer {
  return new CodecTokenizer(new ByteCodec(numTokens))
}

/** Characters encoded between two yields to the consumer. */
const STREAM_PART = 65_536

/** Checks arguments and splits streams into parts. */
class CodecTokenizer implements ModelTokenizer {
  readonly size: number

  constructor(private readonly codec: Codec) {
    this.size = codec.size
  }

  encode(text: string, options: EncodeOptions = {}): number[] {
    const allowSpecial = resolveAllowSpecial('encode', options)
    if (typeof text !== 'string') throw new RoutedAttentionError('BAD_ARGUMENT', `text must be a string, got ${describe(text)}`)
    if (text === '') return []
    const ids: number[] = []
    this.codec.begin(ids, allowSpecial, false).push(toWellFormed(text), true)
    return ids
  }

  encodeStream(chunks: AsyncIterable<string> | Iterable<string>, options: EncodeOptions = {}): AsyncGenerator<Int32Array, void, undefined> {
    const allowSpecial = resolveAllowSpecial('encodeStream', options)
    if (!isIterable(chunks)) {
      throw new RoutedAttentionError(
        'BAD_ARGUMENT',
        `encodeStream: chunks must be an iterable or async iterable of strings, got ${describe(chunks)}`,
      )
    }
    const ids: number[] = []
    return stream(typeof chunks === 'string' ? [chunks] : chunks, ids, this.codec.begin(ids, allowSpecial, true))
  }

  decode(ids: ArrayLike<number>): string {
    return this.codec.decode(this.checkIds(ids))
  }

  tokenBytes(id: number): Uint8Array | undefined {
    this.checkIds([id])
    return this.codec.bytesOf(id)
  }

  isNamed(id: number): boolean {
    this.checkIds([id])
    return this.codec.isNamed(id)
  }

  isByteToken(id: number): boolean {
    return this.codec.isByteToken(id)
  }

  private checkIds(ids: ArrayLike<number>): number[] {
    const isList = Array.isArray(ids) || /^\[object (Uint|Int)\d+(Clamped)?Array\]$/.test(Object.prototype.toString.call(ids))
    if (!isList)
      throw new RoutedAttentionError('BAD_ARGUMENT', `token ids must be an array or an integer typed array, got ${describe(ids)}`)
    const checked = Array.from(ids)
    for (const id of checked) {
      if (!Number.isInteger(id) || id < 0 || id >= this.size) {
        throw new RoutedAttentionError('BAD_ARGUMENT', `a token id must be an integer from 0 to ${this.size - 1}, got ${describe(id)}`)
      }
    }
    return checked
  }
}

const ENCODE_OPTIONS = namesOf<EncodeOptions>({ allowSpecial: true })

function resolveAllowSpecial(call: string, options: EncodeOptions): boolean {
  checkOptions(call, options, ENCODE_OPTIONS)
  const { allowSpecial = true } = options
  if (typeof allowSpecial !== 'boolean')
    throw new RoutedAttentionError('BAD_ARGUMENT', `${call}: allowSpecial must be true or false, got ${describe(allowSpecial)}`)
  return allowSpecial
}

function isIterable(value: unknown): boolean {
  if (typeof value === 'string') return true
  if (typeof value !== 'object' || value === null) return false
  const { [Symbol.asyncIterator]: asyncIterator, [Symbol.iterator]: iterator } = value as Partial<
    AsyncIterable<unknown> & Iterable<unknown>
  >
  return typeof asyncIterator === 'function' || typeof iterator === 'function'
}

async function* stream(
  chunks: AsyncIterable<string> | Iterable<string>,
  ids: number[],
  encoding: Encoding,
): AsyncGenerator<Int32Array, void, undefined> {
  // The first half of a surrogate pair; the second may come with the next chunk.
  let half = ''
  for await (const chunk of chunks) {
    if (typeof chunk !== 'string') {
      throw new RoutedAttentionError('BAD_ARGUMENT', `encodeStream: each chunk must be a string, got ${describe(chunk)}`)
    }
    let text = half + chunk
    half = isHighSurrogate(text, text.length - 1) ? text.slice(-1) : ''
    text = toWellFormed(half === '' ? text : text.slice(0, -1))
    for (let start = 0; start < text.length;) {
      let end = Math.min(start + STREAM_PART, text.length)
      if (end < text.length && isHighSurrogate(text, end - 1)) end++
      encoding.push(text.slice(start, end), false)
      start = end
      if (ids.length > 0) yield take(ids)
    }
  }
  encoding.push(half === '' ? '' : '\ufffd', true)
  if (ids.length > 0) yield take(ids)
}

function take(ids: number[]): Int32Array {
  const taken = Int32Array.from(ids)
  ids.length = 0
  return taken
}

function isHighSurrogate(text: string, at: number): boolean {
  return (text.charCodeAt(at) & 0xfc00) === 0xd800
}
