import { CharSet } from '../char-set.js'
import { sinceUnicode17 } from '../characters.js'

/** POSIX brackets with their Unicode meaning. */
const POSIX: Record<string, RegExp> = {
  alnum: /[\p{Alphabetic}\p{Nd}]/u,
  alpha: /\p{Alphabetic}/u,
  ascii: /[\0-\x7f]/u,
  blank: /[\p{Zs}\t]/u,
  cntrl: /\p{Cc}/u,
  digit: /\p{Nd}/u,
  lower: /\p{Lowercase}/u,
  punct: /[\p{P}\p{S}]/u,
  space: /\p{White_Space}/u,
  upper: /\p{Uppercase}/u,
  word: /[\p{L}\p{M}\p{Nd}\p{Pc}]/u,
  xdigit: /[0-9A-Fa-f]/u,
}

/** The class of a POSIX bracket; undefined for other names. */
export function posixClass(name: string): CharSet | undefined {
  return Object.hasOwn(POSIX, name) ? property(POSIX[name]!) : undefined
}

/** A class by its name in \p{…}: a POSIX bracket, general category, script or property; undefined for others. */
export function namedClass(name: string): CharSet | undefined {
  const plain = name.replace(/[ _-]/g, '').toLowerCase()
  const posix = posixClass(plain)
  if (posix !== undefined) return posix
  if (plain === 'any') return new CharSet(() => true)
  const capitals = name.replace(/[ -]/g, '_').replace(/[A-Za-z]+/g, (word) => word[0]!.toUpperCase() + word.slice(1).toLowerCase())
  for (const value of [`gc=${capitals}`, `sc=${capitals}`, capitals]) {
    try {
      const pattern = new RegExp(`^\\p{${value}}$`, 'u')
      // Characters unassigned in the library are 'other' there.
      if (/^(gc=)?(C|Cn|Other|Unassigned)$/.test(value)) {
        return new CharSet((codePoint) => sinceUnicode17().has(codePoint) || pattern.test(String.fromCodePoint(codePoint)))
      }
      return property(pattern)
    } catch {
      // another kind of name, handled below
    }
  }
  return undefined
}

let words: CharSet | undefined
/** \w. */
export function wordSet(): CharSet {
  return (words ??= property(/[\p{L}\p{M}\p{Nd}\p{Pc}]/u))
}

export function single(codePoint: number): CharSet {
  return new CharSet((other) => other === codePoint)
}

export function complement(set: CharSet): CharSet {
  return new CharSet((codePoint) => !set.has(codePoint))
}

/** A class of Unicode 16, which Hugging Face's library uses for matching. */
export function property(pattern: RegExp): CharSet {
  return new CharSet((codePoint) => !sinceUnicode17().has(codePoint) && pattern.test(String.fromCodePoint(codePoint)))
}
