import { unsupported } from './component.js'

/** Steps for any text, and for each character of it: real tokenizers take fewer than a hundred a character. */
const FREE_STEPS = 1_000_000
const STEPS_PER_CHARACTER = 1000

/**
 * What the encoding of one text may cost. A tokenizer.json comes from strangers: its patterns may backtrack for ever
 * and its replacements may double the text again and again, so what grows faster than the text is counted and ends with
 * a typed error.
 */
export class Effort {
  private left = FREE_STEPS

  /** More text has come. */
  grant(characters: number): void {
    this.left += characters * STEPS_PER_CHARACTER
  }

  /**
   * @param what the component at work, for the message
   * @throws RoutedAttentionError `UNSUPPORTED` when the steps are spent
   */
  spend(steps: number, what: string): void {
    this.left -= steps
    if (this.left < 0) throw unsupported(`${what} takes more than ${STEPS_PER_CHARACTER} steps a character`)
  }
}
