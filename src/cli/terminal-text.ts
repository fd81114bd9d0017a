/*
 * Untrusted text on a terminal: names in error messages, and a model's output. Characters that a terminal interprets as
 * commands (ECMA-48) must be kept out: they can clear the screen, rename the window, or fake the program's own
 * messages.
 */

/** Control characters, line and paragraph separators, bidirectional controls, and unpaired surrogates. */
const UNPRINTABLE = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}\p{Cs}]/gu

/**
 * Escapes unprintable characters as JSON does (`\n`, `\u001b`), so that the text stays on one line.
 * @param keep characters to leave unchanged
 */
export function escapeUnprintable(text: string, keep = ''): string {
  return text.replace(UNPRINTABLE, (character) => {
    if (keep.includes(character)) return character
    if (character === '\n') return '\\n'
    if (character === '\t') return '\\t'
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  })
}

type State =
  | 'text'
  /** After an escape character. */
  | 'escape'
  /** In an escape sequence whose first character announced more. */
  | 'intermediate'
  /** In a control sequence, `ESC [`: parameters, then one final letter. */
  | 'sequence'
  /** In a control string, such as `ESC ]`: anything up to its terminator. */
  | 'string'

const ESCAPE = '\u001b'
const CONTROL_SEQUENCE = '\u009b'
const CONTROL_STRINGS = '\u0090\u0098\u009d\u009e\u009f'
/** Bell, cancel, substitute and string terminator end a control string. */
const TERMINATORS = '\u0007\u0018\u001a\u009c'
const CONTROL = /\p{Cc}/u

/**
 * Removes all control characters except line feeds and tabs, and the escape sequences they begin, however the text is
 * split: a model may write a sequence in several tokens. A line feed or tab ends an unfinished sequence. Bidirectional
 * controls remain: they are part of the text, and end at the line feed.
 */
export class TerminalFilter {
  #state: State = 'text'

  /** @returns the part of the next piece that may be shown */
  push(piece: string): string {
    if (this.#state === 'text' && !CONTROL.test(piece)) return piece
    let shown = ''
    for (const character of piece) if (this.#take(character)) shown += character
    return shown
  }

  /** Whether the next character is to be shown. */
  #take(character: string): boolean {
    if (CONTROL.test(character)) return this.#takeControl(character)
    const state = this.#state
    // A sequence is all ASCII; anything else is text again.
    const isInside = state === 'string' || (state !== 'text' && character <= '~')
    if (!isInside) this.#state = 'text'
    else if (state !== 'string') this.#state = after(state, character)
    return !isInside
  }

  #takeControl(character: string): boolean {
    const isKept = character === '\n' || character === '\t'
    if (character === ESCAPE) this.#state = 'escape'
    else if (character === CONTROL_SEQUENCE) this.#state = 'sequence'
    else if (CONTROL_STRINGS.includes(character)) this.#state = 'string'
    else if (isKept || character >= '\u0080' || TERMINATORS.includes(character)) this.#state = 'text'
    return isKept
  }
}

function after(state: 'escape' | 'intermediate' | 'sequence', character: string): State {
  if (state === 'sequence') return character < '@' ? 'sequence' : 'text'
  if (character < '0') return 'intermediate'
  if (state === 'escape' && character === '[') return 'sequence'
  return state === 'escape' && ']PX^_'.includes(character) ? 'string' : 'text'
}
