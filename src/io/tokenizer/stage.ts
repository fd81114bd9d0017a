import { RoutedAttentionError } from '../../errors.js'
import type { StepBudget } from './step-budget.js'

/** Receives pieces of text, each in one or more parts that do not split characters. */
export interface TextSink {
  /** @param isEnd whether this part ends the piece */
  push(text: string, isEnd: boolean): void
}

/** State shared by the stages of one encoding. */
export interface EncodingContext {
  readonly budget: StepBudget
  /**
   * Whether the current piece begins at the start of the text, for `prepend_scheme: "first"`. Stages that remove its
   * beginning clear this.
   */
  isAtStart: boolean
  /** Maximum characters that a stage may hold back; Infinity if the whole text is available anyway. */
  readonly maxHeld: number
}

/** A step of the pipeline, created for one encoding. */
export type Stage = (next: TextSink, context: EncodingContext) => TextSink

/** Characters that a stream may hold back until they are final. */
export const MAX_HELD = 2 ** 20

/** @throws RoutedAttentionError `BAD_ARGUMENT` if a stage holds back more than allowed */
export function checkHeld(length: number, context: EncodingContext): void {
  if (length <= context.maxHeld) return
  throw new RoutedAttentionError(
    'BAD_ARGUMENT',
    `encodeStream: ${length} characters hold no place where they may be split, more than the ${context.maxHeld} that it keeps; use encode`,
  )
}

/** Connects stages in order. */
export function chain(stages: readonly Stage[]): Stage {
  return (next, context) => stages.reduceRight((sink, stage) => stage(sink, context), next)
}

/** Maps every character separately. */
export function mapping(change: (text: string) => string): Stage {
  return (next) => ({ push: (text, isEnd) => next.push(text === '' ? text : change(text), isEnd) })
}
