import { CharSet, codePointBefore, parseRanges } from './char-set.js'
import { control, ideographs, marks, nonspacingMarks, normalizationStarts, notNormalized, whitespace } from './characters.js'
import { textToByteCharacters } from './byte-level.js'
import type { Component } from './component.js'
import { Pattern } from './pattern/pattern.js'
import { precompiled } from './precompiled.js'
import { PatternSegments } from './split.js'
import { checkHeld, type EncodingContext, mapping, type Stage, type TextSink } from './stage.js'

/** @throws RoutedAttentionError `BAD_FILE`, `UNSUPPORTED` */
export function createNormalizer(component: Component): Stage[] {
  switch (component.type) {
    case 'Sequence':
      return component.children('normalizers').flatMap(createNormalizer)
    case 'BertNormalizer':
      return bert(component)
    case 'NFC':
    case 'NFD':
    case 'NFKC':
    case 'NFKD':
      return [normalizationForm(component.type)]
    case 'Lowercase':
      return [lowercase]
    case 'Strip':
      return [strip(component.boolean('strip_left', true), component.boolean('strip_right', true))]
    case 'StripAccents':
      return [without(marks())]
    case 'Nmt':
      return nmt()
    case 'Precompiled':
      return [precompiled(component)]
    case 'Prepend':
      return [prepend(component.affix('prepend'))]
    case 'Replace':
      return [replace(component)]
    case 'ByteLevel':
      return [mapping(textToByteCharacters)]
    default:
      throw component.unknown()
  }
}

function bert(component: Component): Stage[] {
  const stages: Stage[] = []
  const isLowercase = component.boolean('lowercase', true)
  if (component.boolean('clean_text', true))
    stages.push(
      without(control()),
      mapping((text) => text.replace(/\p{White_Space}/gu, ' ')),
    )
  if (component.boolean('handle_chinese_chars', true)) stages.push(mapping(spaceIdeographs))
  if (component.boolean('strip_accents', isLowercase)) stages.push(normalizationForm('NFD'), without(nonspacingMarks()))
  if (isLowercase) stages.push(lowercase)
  return stages
}

function spaceIdeographs(text: string): string {
  return text.replace(/[\u3400-\u9fff\uf900-\ufaff\u{20000}-\u{2fa1f}]/gu, (character) =>
    ideographs().has(character.codePointAt(0)!) ? ` ${character} ` : character,
  )
}

/** Character by character, since the string's own method considers the context of Σ. */
const lowercase = mapping((text) =>
  text.includes('Σ')
    ? text
        .split('Σ')
        .map((part) => part.toLowerCase())
        .join('σ')
    : text.toLowerCase(),
)

function nmt(): Stage[] {
  const removed = new CharSet(parseRanges('1-8 b e-1f 7f 8f 9f'))
  return [without(removed), mapping((text) => text.replace(/[\t\n\f\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]/g, ' '))]
}

/** Removes characters; if the text's first character is removed, the rest no longer begins at the start of the text. */
function without(set: CharSet): Stage {
  return (next, context) => {
    let isFirst = true
    return {
      push(text, isEnd) {
        let left = ''
        let start = 0
        for (let at = 0; at < text.length;) {
          const codePoint = text.codePointAt(at)!
          const end = at + (codePoint > 0xffff ? 2 : 1)
          if (set.has(codePoint)) {
            if (isFirst) context.isAtStart = false
            left += text.slice(start, at)
            start = end
          }
          isFirst = false
          at = end
        }
        if (isEnd) isFirst = true
        next.push(left + text.slice(start), isEnd)
      },
    }
  }
}

/** Holds back text that later characters may combine with. */
function normalizationForm(form: 'NFC' | 'NFD' | 'NFKC' | 'NFKD'): Stage {
  return (next, context) => {
    let held = ''
    return {
      push(text, isEnd) {
        held += text
        let certain = held.length
        if (!isEnd) certain = lastStart(held)
        checkHeld(held.length - certain, context)
        next.push(normalize(held.slice(0, certain), form), isEnd)
        held = held.slice(certain)
      },
    }
  }
}

function normalize(text: string, form: string): string {
  if (/^[\0-\x7f]*$/.test(text)) return text
  let normalized = ''
  let start = 0
  for (let at = 0; at < text.length;) {
    const codePoint = text.codePointAt(at)!
    const end = at + (codePoint > 0xffff ? 2 : 1)
    if (codePoint >= 0x7fd && notNormalized().has(codePoint)) {
      normalized += text.slice(start, at).normalize(form) + text.slice(at, end)
      start = end
    }
    at = end
  }
  return normalized + text.slice(start).normalize(form)
}

/** Position of the last character that does not combine with preceding ones. */
function lastStart(text: string): number {
  for (let at = text.length; at > 0;) {
    const codePoint = codePointBefore(text, at)!
    at -= codePoint > 0xffff ? 2 : 1
    if (normalizationStarts().has(codePoint)) return at
  }
  return 0
}

function strip(isLeft: boolean, isRight: boolean): Stage {
  return (next, context) => {
    let isBeginning = true
    let held = ''
    return {
      push(text, isEnd) {
        let rest = text
        if (isLeft && isBeginning) {
          rest = text.replace(/^\p{White_Space}+/u, '')
          if (rest.length < text.length) context.isAtStart = false
        }
        if (rest !== '') isBeginning = false
        if (isRight) {
          const end = endWithoutSpace(rest)
          // Only space adds to what is held back.
          const isSpace = end === 0
          const certain = isSpace ? '' : held + rest.slice(0, end)
          held = isSpace ? held + rest : rest.slice(end)
          checkHeld(held.length, context)
          rest = certain
        }
        next.push(rest, isEnd)
        if (!isEnd) return
        held = ''
        isBeginning = true
      },
    }
  }
}

function endWithoutSpace(text: string): number {
  let end = text.length
  while (end > 0 && whitespace().has(text.charCodeAt(end - 1))) end--
  return end
}

function prepend(prefix: string): Stage {
  return (next) => {
    let isBeginning = true
    return {
      push(text, isEnd) {
        next.push(isBeginning && text !== '' ? prefix + text : text, isEnd)
        if (text !== '') isBeginning = false
        if (isEnd) isBeginning = true
      },
    }
  }
}

function replace(component: Component): Stage {
  const pattern = Pattern.of(component)
  // Here the library aborts the process.
  if (pattern.mayBeEmpty) throw component.unsupported('has a pattern that may match no characters')
  const content = component.string('content')
  return (next, context) => new PatternSegments(pattern, context, new Replacement(content, component.name, next, context))
}

class Replacement {
  private isMatch = false
  private isFirst = true
  private out: string[] = []

  constructor(
    private readonly content: string,
    private readonly name: string,
    private readonly next: TextSink,
    private readonly context: EncodingContext,
  ) {}

  begin(isMatch: boolean): void {
    this.isMatch = isMatch
    if (!isMatch) {
      this.isFirst = false
      return
    }
    this.context.budget.spend(this.content.length, this.name)
    this.out.push(this.content)
  }

  part(text: string): void {
    if (!this.isMatch) {
      this.next.push(this.out.join('') + text, false)
      this.out = []
    } else if (this.isFirst) {
      // In the library, a replacement of several characters begins where the last of them did.
      if (this.content === '' || text.length > (text.codePointAt(0)! > 0xffff ? 2 : 1)) this.context.isAtStart = false
    }
    this.isFirst = false
  }

  end(): void {
    this.next.push(this.out.join(''), true)
    this.out = []
    this.isFirst = true
  }
}
