/*
 * Text from elsewhere on a terminal: names in error messages, and what a model writes. Characters that a terminal takes
 * for commands (ECMA-48) must not get there: they clear the screen, rename the window, or write lines that look like
 * ours.
 */

/**
 * Control characters, line and paragraph separators, what turns the direction of the text around it, and halves of
 * surrogate pairs.
 */
const UNPRINTABLE = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}\p{Cs}]/gu

/**
 * Unprintable characters as JSON writes them (`\n`, `\u001b`), so that a text is one line.
 * @param keep characters that stay as they are
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
  /** Behind an escape character. */
  | 'escape'
  /** In an escape sequence whose first character said that more follow. */
  | 'intermediate'
  /** In a control sequence, `ESC [`: parameters, then one final letter. */
  | 'sequence'
  /** In a control string, such as `ESC ]`: whatever it says, up to its terminator. */
  | 'string'

const ESCAPE = '\u001b'
const CONTROL_SEQUENCE = '\u009b'
const CONTROL_STRINGS = '\u0090\u0098\u009d\u009e\u009f'
/** Bell, cancel, substitute and string terminator: what ends a control string. */
const TERMINATORS = '\u0007\u0018\u001a\u009c'
const CONTROL = /\p{Cc}/u

/**
 * Drops from a text all control characters but line feeds and tabs, and the escape sequences that they begin, however
 * the text is cut into pieces: a model may write a sequence in several tokens. A line feed or a tab ends a sequence
 * that is never finished. What turns the direction of text around stays: it is text, and a line feed ends it.
 */
export class TerminalFilter {
  #state: State = 'text'

  /** @returns what may be shown of the next piece */
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
    // All of a sequence is ASCII; anything else is text again.
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
