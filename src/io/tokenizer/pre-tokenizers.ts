import { textToByteCharacters } from './byte-level.js'
import { CharSet, widthAt } from './char-set.js'
import { numbers, punctuation, whitespace, wordCharacters } from './characters.js'
import type { Component } from './component.js'
import { Pattern } from './pattern/pattern.js'
import { BEHAVIORS, splitAtCharacters, splitAtMatches } from './split.js'
import { mapping, type Stage } from './stage.js'

/** Splits a text before the model sees it. */
export interface PreTokenizer {
  readonly stages: readonly Stage[]
  /** Whether it splits at all; otherwise the text cannot be streamed. */
  readonly splits: boolean
}

/** GPT-2's pattern. */
const BYTE_LEVEL = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

/** @throws RoutedAttentionError `BAD_FILE`, `UNSUPPORTED` */
export function createPreTokenizer(component: Component): PreTokenizer {
  switch (component.type) {
    case 'Sequence': {
      const parts = component.children('pretokenizers').map((child, index) => {
        if (index > 0 && child.type === 'Metaspace' && child.value('prepend_scheme') === 'first')
          throw child.unsupported("has prepend_scheme 'first' after another pre-tokenizer")
        return createPreTokenizer(child)
      })
      return { stages: parts.flatMap(({ stages }) => stages), splits: parts.some(({ splits }) => splits) }
    }
    case 'ByteLevel': {
      const stages: Stage[] = component.boolean('add_prefix_space', true) ? [beginWith(' ', () => true)] : []
      const splits = component.boolean('use_regex', true)
      if (splits) stages.push(splitAtMatches(Pattern.parse(BYTE_LEVEL, component.name), 'Isolated', false))
      return { stages: [...stages, mapping(textToByteCharacters)], splits }
    }
    case 'Metaspace':
      return metaspace(component)
    case 'BertPreTokenizer':
      return splitting(splitAtCharacters(whitespace(), 'Removed'), splitAtCharacters(punctuation(), 'Isolated'))
    case 'Whitespace':
      return splitting(splitAtCharacters(whitespace(), 'Removed'), betweenWords)
    case 'WhitespaceSplit':
      return splitting(splitAtCharacters(whitespace(), 'Removed'))
    case 'Punctuation':
      return splitting(splitAtCharacters(punctuation(), component.choice('behavior', BEHAVIORS, 'Isolated')))
    case 'Digits':
      return splitting(splitAtCharacters(numbers(), component.boolean('individual_digits', false) ? 'Isolated' : 'Contiguous'))
    case 'CharDelimiterSplit':
      return splitting(splitAtCharacters(oneCharacter(component.character('delimiter')), 'Removed'))
    case 'Split':
      return splitting(
        splitAtMatches(Pattern.of(component), component.choice('behavior', BEHAVIORS, 'Isolated'), component.boolean('invert', false)),
      )
    case 'FixedLength':
      return splitting(everyFew(component.integer('length', 1, 5)))
    case 'UnicodeScripts':
      throw component.unsupported('is a pre-tokenizer that this package does not have')
    default:
      throw component.unknown()
  }
}

function splitting(...stages: Stage[]): PreTokenizer {
  return { stages, splits: true }
}

function metaspace(component: Component): PreTokenizer {
  const replacement = component.character('replacement', '▁')
  const scheme = prependScheme(component)
  const splits = component.boolean('split', true)
  const stages: Stage[] = [mapping((text) => text.replaceAll(' ', replacement))]
  if (scheme !== 'never') stages.push(beginWith(replacement, (isAtStart) => scheme === 'always' || isAtStart))
  if (splits) stages.push(splitAtCharacters(oneCharacter(replacement), 'MergedWithNext'))
  return { stages, splits }
}

/** Older files use `add_prefix_space` instead. */
export function prependScheme(component: Component): 'always' | 'first' | 'never' {
  const isPrefixed = component.boolean('add_prefix_space', true)
  const scheme = component.choice('prepend_scheme', ['always', 'first', 'never'], isPrefixed ? 'always' : 'never')
  if (!isPrefixed && scheme !== 'never') throw component.unfit('prepend_scheme', "'never' if add_prefix_space is false", scheme)
  return scheme
}

function oneCharacter(character: string): CharSet {
  const codePoint = character.codePointAt(0)
  return new CharSet((other) => other === codePoint)
}

/** Adds a prefix to each piece that lacks it. */
function beginWith(prefix: string, isWanted: (isAtStart: boolean) => boolean): Stage {
  return (next, context) => {
    let isBeginning = true
    return {
      push(text, isEnd) {
        const isPrefixed = isBeginning && text !== '' && !text.startsWith(prefix) && isWanted(context.isAtStart)
        next.push(isPrefixed ? prefix + text : text, isEnd)
        if (text !== '') isBeginning = false
        if (isEnd) isBeginning = true
      },
    }
  }
}

/** Splits between word characters and others, as `\w+|[^\w\s]+` does once white space is removed. */
const betweenWords: Stage = (next) => {
  let last: boolean | undefined
  return {
    push(text, isEnd) {
      let start = 0
      for (let at = 0; at < text.length;) {
        const codePoint = text.codePointAt(at)!
        const isWord = wordCharacters().has(codePoint)
        if (last !== undefined && isWord !== last) {
          next.push(text.slice(start, at), true)
          start = at
        }
        last = isWord
        at += codePoint > 0xffff ? 2 : 1
      }
      next.push(text.slice(start), isEnd)
      if (isEnd) last = undefined
    },
  }
}

function everyFew(length: number): Stage {
  return (next) => {
    let count = 0
    return {
      push(text, isEnd) {
        let start = 0
        for (let at = 0; at < text.length;) {
          if (count === length) {
            next.push(text.slice(start, at), true)
            start = at
            count = 0
          }
          count++
          at += widthAt(text, at)
        }
        next.push(text.slice(start), isEnd)
        if (isEnd) count = 0
      },
    }
  }
}
