import { unsupported } from './component.js'

/**
 * Steps allowed for any text, in addition to those per character; real tokenizers take fewer than a hundred per
 * character.
 */
const FREE_STEPS = 1_000_000
const STEPS_PER_CHARACTER = 1000

/**
 * Limits the cost of encoding one text. A tokenizer.json is untrusted: its patterns may backtrack forever and its
 * replacements may double the text repeatedly, so anything that grows faster than the text is counted, and ends with a
 * typed error.
 */
export class StepBudget {
  private left = FREE_STEPS

  /** Adds the allowance for more text. */
  grant(characters: number): void {
    this.left += characters * STEPS_PER_CHARACTER
  }

  /**
   * @param what the component at work, for the message
   * @throws RoutedAttentionError `UNSUPPORTED` when the steps are used up
   */
  spend(steps: number, what: string): void {
    this.left -= steps
    if (this.left < 0) throw unsupported(`${what} takes more than ${STEPS_PER_CHARACTER} steps per character`)
  }
}
