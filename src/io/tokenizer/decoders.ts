import { bytesOfToken } from './byte-level.js'
import type { Component } from './component.js'
import type { StepBudget } from './step-budget.js'
import { Pattern } from './pattern/pattern.js'
import { prependScheme } from './pre-tokenizers.js'
import { PatternSegments } from './split.js'

/** Converts the texts of tokens to parts of the text, whose concatenation is the text. */
export type Decoder = (tokens: string[], budget: StepBudget) => string[]

/** @throws RoutedAttentionError `BAD_FILE`, `UNSUPPORTED` */
export function createDecoder(component: Component): Decoder {
  switch (component.type) {
    case 'Sequence': {
      const decoders = component.children('decoders').map(createDecoder)
      return (tokens, budget) => decoders.reduce((parts, decode) => decode(parts, budget), tokens)
    }
    case 'ByteLevel':
      return (tokens) => [decodeBytes(tokens.map(bytesOfToken))]
    case 'Metaspace': {
      const replacement = component.character('replacement', '▁')
      const dropsFirst = prependScheme(component) !== 'never'
      return (tokens) => tokens.map((token, index) => token.replaceAll(replacement, index === 0 && dropsFirst ? '' : ' '))
    }
    case 'WordPiece':
      return wordPiece(component.string('prefix', '##'), component.boolean('cleanup', true))
    case 'BPEDecoder': {
      const suffix = component.string('suffix', '</w>')
      return (tokens) => tokens.map((token, index) => replaceAll(token, suffix, index === tokens.length - 1 ? '' : ' '))
    }
    case 'CTC':
      return connectionist(component)
    case 'Fuse':
      return (tokens) => [tokens.join('')]
    case 'ByteFallback':
      return byteFallback
    case 'Strip':
      return strip(component)
    case 'Replace':
      return replace(component)
    default:
      throw component.unknown()
  }
}

/** One byte of a run, such as <0xC3>. */
export const BYTE_TOKEN = /^<0x(?:\+([0-9A-Fa-f])|([0-9A-Fa-f]{2}))>$/

/** Whether a decoder, or a nested one, handles runs of byte tokens. */
export function readsByteTokens(component: Component): boolean {
  return component.type === 'ByteFallback' || (component.type === 'Sequence' && component.children('decoders').some(readsByteTokens))
}

/** Decodes UTF-8, with U+FFFD for invalid bytes; a byte order mark is a character. */
export function decodeBytes(parts: readonly Uint8Array[]): string {
  const bytes = new Uint8Array(parts.reduce((length, part) => length + part.length, 0))
  let offset = 0
  for (const part of parts) {
    bytes.set(part, offset)
    offset += part.length
  }
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes)
}

/** Replaces as Rust does: an empty text is found before and after every character. */
function replaceAll(text: string, search: string, content: string): string {
  return search === '' ? content + Array.from(text, (character) => character + content).join('') : text.replaceAll(search, () => content)
}

function wordPiece(prefix: string, isCleaned: boolean): Decoder {
  return (tokens) =>
    tokens.map((token, index) => {
      const text = index === 0 ? token : token.startsWith(prefix) ? token.slice(prefix.length) : ` ${token}`
      return isCleaned ? cleanUp(text) : text
    })
}

/** English punctuation and contractions, within each token. */
const CLEANUPS = [
  [' .', '.'],
  [' ?', '?'],
  [' !', '!'],
  [' ,', ','],
  [" ' ", "'"],
  [" n't", "n't"],
  [" 'm", "'m"],
  [' do not', " don't"],
  [" 's", "'s"],
  [" 've", "'ve"],
  [" 're", "'re"],
] as const

function cleanUp(text: string): string {
  return CLEANUPS.reduce((cleaned, [from, to]) => cleaned.replaceAll(from, to), text)
}

function connectionist(component: Component): Decoder {
  const pad = component.string('pad_token', '<pad>')
  const delimiter = component.string('word_delimiter_token', '|')
  const isCleaned = component.boolean('cleanup', true)
  return (tokens) =>
    tokens
      .filter((token, index) => token !== tokens[index - 1])
      .map((token) => {
        const text = replaceAll(token, pad, '')
        return isCleaned ? replaceAll(cleanUp(text), delimiter, ' ') : text
      })
      .filter((text) => text !== '')
}

/** Runs of <0x00> to <0xFF> that are valid UTF-8 become text; in others, each byte becomes U+FFFD. */
const byteFallback: Decoder = (tokens) => {
  const parts: string[] = []
  let run: number[] = []
  const endRun = (): void => {
    if (run.length === 0) return
    try {
      parts.push(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(run)))
    } catch {
      for (let i = 0; i < run.length; i++) parts.push('\ufffd')
    }
    run = []
  }
  for (const token of tokens) {
    const byte = BYTE_TOKEN.exec(token)
    if (byte !== null) run.push(parseInt(byte[1] ?? byte[2]!, 16))
    else {
      endRun()
      parts.push(token)
    }
  }
  endRun()
  return parts
}

function strip(component: Component): Decoder {
  const content = component.character('content', ' ')
  const most = [component.integer('start', 0, 0), component.integer('stop', 0, 0)] as const
  return (tokens) =>
    tokens.map((token) => {
      const characters = Array.from(token)
      let start = 0
      while (start < Math.min(most[0], characters.length) && characters[start] === content) start++
      let end = characters.length
      while (end > start && characters.length - end < most[1] && characters[end - 1] === content) end--
      return characters.slice(start, end).join('')
    })
}

function replace(component: Component): Decoder {
  const pattern = Pattern.of(component)
  const content = component.string('content')
  return (tokens, budget) =>
    tokens.map((token) => {
      let text = ''
      let isMatch = false
      const segments = new PatternSegments(
        pattern,
        { budget, isAtStart: true, maxHeld: Infinity },
        {
          begin(isNextMatch) {
            isMatch = isNextMatch
            if (!isMatch) return
            budget.spend(content.length, component.name)
            text += content
          },
          part: (part) => void (isMatch || (text += part)),
          end: () => undefined,
        },
      )
      segments.push(token, true)
      return text
    })
}
