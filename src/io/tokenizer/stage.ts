import { RoutedAttentionError } from '../../errors.js'
import type { Effort } from './effort.js'

/** Takes pieces of text, each in one or more parts that cut no character in two. */
export interface TextSink {
  /** @param isEnd whether the piece ends with this part */
  push(text: string, isEnd: boolean): void
}

/** What the stages of one encoding share. */
export interface EncodingContext {
  readonly effort: Effort
  /**
   * Whether the piece under way begins where the text does: `prepend_scheme: "first"`. Stages that remove its beginning
   * unset it.
   */
  isAtStart: boolean
  /** Most characters that a stage may hold back; infinite where the whole text is there anyway. */
  readonly mostHeld: number
}

/** A step of the pipeline, made for one encoding. */
export type Stage = (next: TextSink, context: EncodingContext) => TextSink

/** Characters that a stream may hold back until they are certain. */
export const MAX_HELD = 2 ** 20

/** @throws RoutedAttentionError `BAD_ARGUMENT` when a stage holds back more than it may */
export function checkHeld(length: number, context: EncodingContext): void {
  if (length <= context.mostHeld) return
  throw new RoutedAttentionError(
    'BAD_ARGUMENT',
    `encodeStream: ${length} characters hold no place where they may be split, more than the ${context.mostHeld} that it keeps; use encode`,
  )
}

/** The first stage of a list feeds the second, and so on. */
export function chain(stages: readonly Stage[]): Stage {
  return (next, context) => stages.reduceRight((sink, stage) => stage(sink, context), next)
}

/** Changes every character by itself. */
export function mapping(change: (text: string) => string): Stage {
  return (next) => ({ push: (text, isEnd) => next.push(text === '' ? text : change(text), isEnd) })
}
