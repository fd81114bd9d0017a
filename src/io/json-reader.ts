import { RoutedAttentionError } from '../errors.js'

/**
 * An incremental JSON reader as strict as the safetensors library's parser, which `JSON.parse` is not: it exposes
 * repeated keys, distinguishes 64-bit integers from other numbers, and rejects unpaired surrogates, numbers beyond
 * float64 and deep nesting. Every method throws RoutedAttentionError `BAD_FILE` for anything but what its name says.
 */
export class JsonReader {
  private position = 0
  private depth = 0

  constructor(
    private readonly text: string,
    private readonly what: string,
  ) {}

  /** Reads an object; `member` must read exactly one value for each key. */
  object(member: (key: string) => void): void {
    this.list('{', '}', 'an object', () => {
      const key = this.string()
      this.expect(':')
      member(key)
    })
  }

  /** Reads an array; `item` must read exactly one value per call. */
  array(item: () => void): void {
    this.list('[', ']', 'an array', item)
  }

  string(): string {
    this.skipSpace()
    const start = this.position
    if (this.text[start] !== '"') throw this.bad('a string')
    let end = start + 1
    do {
      end = this.text.indexOf('"', end) + 1
      if (end === 0) throw this.bad('the end of a string')
    } while (this.isEscaped(end - 1))
    this.position = end
    const plain = this.text.slice(start + 1, end - 1)
    if (!/[\\\u0000-\u001f]/.test(plain)) return plain
    try {
      const value = JSON.parse(this.text.slice(start, end)) as string
      if (!/[\ud800-\udfff]/u.test(value)) return value
    } catch {
      // reported below, with its position
    }
    this.position = start
    throw this.bad('a string of well-formed characters')
  }

  /** Reads an integer from 0 to 2^64 - 1, written without a sign, a fraction or an exponent. */
  unsigned(): number | bigint {
    this.skipSpace()
    const start = this.position
    let end = start
    let value = 0
    for (let digit = this.digitAt(end); digit >= 0; digit = this.digitAt(++end)) value = value * 10 + digit
    const isPlain = end > start && (end === start + 1 || this.digitAt(start) !== 0) && !/[.eE]/.test(this.text.charAt(end))
    if (isPlain && end - start <= 20) {
      const exact = Number.isSafeInteger(value) ? value : BigInt(this.text.slice(start, end))
      if (exact < 2n ** 64n) {
        this.position = end
        return exact
      }
    }
    throw this.bad('an integer from 0 to 2^64 - 1')
  }

  /** Reads null, if it comes next. */
  acceptNull(): boolean {
    this.skipSpace()
    return this.word('null')
  }

  /** Reads and discards any value. */
  skip(): void {
    this.skipSpace()
    const first = this.text[this.position]
    if (first === '{') this.object(() => this.skip())
    else if (first === '[') this.array(() => this.skip())
    else if (first === '"') this.string()
    else if (!this.word('true') && !this.word('false') && !this.word('null')) this.number()
  }

  end(): void {
    this.skipSpace()
    if (this.position < this.text.length) throw this.bad('nothing more')
  }

  private list(open: string, close: string, expected: string, item: () => void): void {
    if (!this.accept(open)) throw this.bad(expected)
    // The library's parser stops at 128 open brackets.
    if (++this.depth === 128) throw this.bad('fewer than 128 levels of nesting')
    if (!this.accept(close)) {
      do item()
      while (this.accept(','))
      this.expect(close)
    }
    this.depth--
  }

  private number(): string {
    this.skipSpace()
    const pattern = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
    pattern.lastIndex = this.position
    const found = pattern.exec(this.text)?.[0]
    if (found === undefined || !Number.isFinite(Number(found))) throw this.bad('a value')
    this.position += found.length
    return found
  }

  /** -1 if there is no digit. */
  private digitAt(position: number): number {
    const digit = this.text.charCodeAt(position) - 0x30
    return digit >= 0 && digit <= 9 ? digit : -1
  }

  private isEscaped(quote: number): boolean {
    let backslashes = 0
    while (this.text[quote - 1 - backslashes] === '\\') backslashes++
    return backslashes % 2 === 1
  }

  private word(word: string): boolean {
    if (!this.text.startsWith(word, this.position)) return false
    this.position += word.length
    return true
  }

  private accept(character: string): boolean {
    this.skipSpace()
    return this.word(character)
  }

  private expect(character: string): void {
    if (!this.accept(character)) throw this.bad(`'${character}'`)
  }

  private skipSpace(): void {
    for (;;) {
      const code = this.text.charCodeAt(this.position)
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return
      this.position++
    }
  }

  private bad(expected: string): RoutedAttentionError {
    const found = this.position < this.text.length ? JSON.stringify(this.text.slice(this.position, this.position + 20)) : 'its end'
    return new RoutedAttentionError(
      'BAD_FILE',
      `${this.what} is broken at character ${this.position}: expected ${expected}, found ${found}`,
    )
  }
}
