import { describe, RoutedAttentionError, reasonOf } from '../errors.js'
import { bytesOfToken } from './byte-level.js'
import { parseJson } from './json.js'
import { checkTokenizerJson, type TokenizerJson } from './tokenizer-json.js'

/** Text to token ids and back, as tokenizer.json says. */
export interface Tokenizer {
  /** Ids are below this. */
  readonly size: number
  /**
   * Token ids of a text. Special tokens written out in it become theirs; none is added around it.
   * @throws RoutedAttentionError `BAD_ARGUMENT` for anything but a string, or for text that the vocabulary cannot express
   */
  encode(text: string): number[]
  /**
   * Text of token ids, special tokens included; bytes that are not UTF-8 become U+FFFD.
   * @param ids an array or an integer typed array; ids that tokenizer.json does not name have no text
   * @throws RoutedAttentionError `BAD_ARGUMENT` for anything else, or for an id that is not an integer in [0, size)
   */
  decode(ids: ArrayLike<number>): string
  /**
   * The bytes that a token adds to the text, where text is tokens' bytes in a row (byte-level vocabularies); otherwise undefined.
   * @throws RoutedAttentionError `BAD_ARGUMENT` as `decode`
   */
  tokenBytes(id: number): Uint8Array | undefined
  /** Whether a token is one byte of a run that is decoded as a whole (`ByteFallback`): its text is certain when the run has ended. */
  isByteToken(id: number): boolean
}

/** What is used of the library's class; its own declarations do not resolve under Node's rules. */
interface TokenizerLibrary {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: (number | undefined)[] }
  decode(ids: number[], options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean }): string
  id_to_token(id: number): string | undefined
}

const FILE = 'tokenizer.json'

/**
 * Makes a tokenizer from a tokenizer.json in Hugging Face's format. The library for it is loaded by the first call.
 * @param json the file's bytes or text
 * @param numTokens size of the model's vocabulary: ids below it are valid even where the file names fewer
 * @throws RoutedAttentionError `BAD_FILE` when it is broken or of a kind unknown here, `BAD_ARGUMENT` when it is neither bytes nor text
 */
export async function createTokenizer(json: Uint8Array | string, numTokens = 0): Promise<Tokenizer> {
  if (typeof json !== 'string' && !(json instanceof Uint8Array)) {
    throw new RoutedAttentionError('BAD_ARGUMENT', `${FILE} must be given as a Uint8Array or a string, got ${describe(json)}`)
  }
  const parsed = checkTokenizerJson(parseJson(typeof json === 'string' ? new TextEncoder().encode(json) : json, FILE))
  const library = await import('@huggingface/tokenizers')
  let tokenizer: TokenizerLibrary
  try {
    tokenizer = new library.Tokenizer(parsed.json, {}) as TokenizerLibrary
    tokenizer.encode('A word.', { add_special_tokens: false })
  } catch (cause) {
    throw unusable('cannot be used', cause)
  }
  const size = Math.max(parsed.size, numTokens)
  return parsed.isByteLevel
    ? new ByteLevelTokenizer(tokenizer, parsed, size)
    : new LibraryTokenizer(tokenizer, size, parsed.hasByteFallback)
}

class LibraryTokenizer implements Tokenizer {
  constructor(
    protected readonly library: TokenizerLibrary,
    readonly size: number,
    private readonly hasByteFallback = false,
  ) {}

  encode(text: string): number[] {
    if (typeof text !== 'string') throw new RoutedAttentionError('BAD_ARGUMENT', `text must be a string, got ${describe(text)}`)
    if (text === '') return []
    let ids: (number | undefined)[]
    try {
      ids = this.library.encode(text, { add_special_tokens: false }).ids
    } catch (cause) {
      throw unusable(`failed on ${describe(text)}`, cause)
    }
    if (ids.includes(undefined)) {
      throw new RoutedAttentionError('BAD_ARGUMENT', `the vocabulary has no token for a part of ${describe(text)}, nor one for the unknown`)
    }
    return ids as number[]
  }

  decode(ids: ArrayLike<number>): string {
    const known = this.checkIds(ids).filter((id) => this.library.id_to_token(id) !== undefined)
    if (known.length === 0) return ''
    try {
      return this.library.decode(known, { skip_special_tokens: false, clean_up_tokenization_spaces: false })
    } catch (cause) {
      throw unusable('failed to decode', cause)
    }
  }

  tokenBytes(id: number): Uint8Array | undefined {
    this.checkIds([id])
    return undefined
  }

  isByteToken(id: number): boolean {
    return this.hasByteFallback && /^<0x[\da-f]{2}>$/i.test(this.library.id_to_token(id) ?? '')
  }

  protected checkIds(ids: ArrayLike<number>): number[] {
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

/** Decodes by bytes: the library looks through all added tokens for each token. */
class ByteLevelTokenizer extends LibraryTokenizer {
  private readonly bytes = new Map<number, Uint8Array>()
  private readonly addedTokens: ReadonlyMap<number, string>

  constructor(library: TokenizerLibrary, { addedTokens }: TokenizerJson, size: number) {
    super(library, size)
    this.addedTokens = addedTokens
  }

  override decode(ids: ArrayLike<number>): string {
    const parts = this.checkIds(ids).map((id) => this.bytesOf(id))
    const bytes = new Uint8Array(parts.reduce((length, part) => length + part.length, 0))
    let offset = 0
    for (const part of parts) {
      bytes.set(part, offset)
      offset += part.length
    }
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes)
  }

  override tokenBytes(id: number): Uint8Array {
    this.checkIds([id])
    return this.bytesOf(id)
  }

  private bytesOf(id: number): Uint8Array {
    let bytes = this.bytes.get(id)
    if (bytes === undefined) {
      const added = this.addedTokens.get(id)
      bytes = added === undefined ? bytesOfToken(this.library.id_to_token(id) ?? '') : new TextEncoder().encode(added)
      this.bytes.set(id, bytes)
    }
    return bytes
  }
}

function unusable(why: string, cause: unknown): RoutedAttentionError {
  return new RoutedAttentionError('BAD_FILE', `${FILE} ${why}: ${reasonOf(cause)}`, { cause })
}
