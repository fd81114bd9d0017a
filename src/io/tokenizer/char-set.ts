/** A set of code points, stored in pages of 256 that are computed when first needed. */
export class CharSet {
  private readonly pages: (Uint8Array | undefined)[] = []

  constructor(private readonly test: (codePoint: number) => boolean) {}

  /** @param pattern matches a single character */
  static matching(pattern: Pick<RegExp, 'test'>): CharSet {
    return new CharSet((codePoint) => pattern.test(String.fromCodePoint(codePoint)))
  }

  has(codePoint: number): boolean {
    return (this.pages[codePoint >> 8] ?? this.fill(codePoint >> 8))[codePoint & 0xff] === 1
  }

  private fill(page: number): Uint8Array {
    const members = new Uint8Array(256)
    for (let i = 0; i < 256; i++) members[i] = this.test(page * 256 + i) ? 1 : 0
    this.pages[page] = members
    return members
  }
}

/** Ranges of code points in hexadecimal, such as '61d 1b4e-1b4f'. */
export function parseRanges(text: string): (codePoint: number) => boolean {
  const ranges = text.split(' ').map((range) => range.split('-').map((end) => parseInt(end, 16)))
  return (codePoint) => ranges.some(([first, last = first]) => codePoint >= first! && codePoint <= last!)
}

/** Number of code units of the character at a position. */
export function widthAt(text: string, at: number): number {
  return text.codePointAt(at)! > 0xffff ? 2 : 1
}

/** The code point that ends at a position; undefined at the beginning. */
export function codePointBefore(text: string, at: number): number | undefined {
  if (at === 0) return undefined
  const unit = text.charCodeAt(at - 1)
  return unit >= 0xdc00 && unit <= 0xdfff && at > 1 ? text.codePointAt(at - 2) : unit
}

/** Replaces unpaired surrogates with U+FFFD, as TextEncoder does. */
export function toWellFormed(text: string): string {
  return text.replace(/[\ud800-\udfff]/gu, '\ufffd')
}

/** Creates a set when first needed. */
export function lazyCharSet(pattern: RegExp): () => CharSet {
  let made: CharSet | undefined
  return () => (made ??= CharSet.matching(pattern))
}
