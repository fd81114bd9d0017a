import { errorBody, HttpError, type HttpErrorCode } from '../http-error.js'
import { sseEvent } from '../reply.js'
import type { Conversation } from './conversation.js'
import { answerStart, type Turn, turnEnd } from './record.js'

/** Where a client's reading stands. */
export interface EventPosition {
  /** Tokens before the next one it wants. */
  readonly position: number
  /** Number of the last turn that it knows to have failed there; -1 if of none. */
  readonly failed: number
}

/** Events in one piece, so that a client that reads from the beginning does not get thousands of pieces. */
const MAX_EVENTS = 64

/** The id of an event: the position, and behind the failure of a turn its number. */
export function eventId({ position, failed }: EventPosition): string {
  return failed === -1 ? String(position) : `${position}-failed-${failed}`
}

/** @returns undefined unless it is the id of an event */
export function parseEventId(id: string): EventPosition | undefined {
  const [, position, failed = '-1'] = /^(\d{1,15})(?:-failed-(\d{1,15}))?$/.exec(id) ?? []
  return position === undefined ? undefined : { position: Number(position), failed: Number(failed) }
}

/** The position of a turn's answer. */
export function answerPosition({ turns }: Conversation, number: number): EventPosition {
  const failedBefore = turns[number]!.prompt.length === 0 && typeof turns[number - 1]?.end === 'object'
  return { position: answerStart(turns[number]!), failed: failedBefore ? number - 1 : -1 }
}

/**
 * The events of a conversation from a position on, to the end of the turn that is being answered. Nothing is held for a
 * slow client: it reads what the conversation has.
 */
export class EventStream implements AsyncIterator<string, undefined, undefined> {
  readonly #conversation: Conversation
  readonly #signal: AbortSignal
  readonly #advance: (() => Promise<void>) | undefined
  #position: number
  /** Number of the last turn whose failure was told, or is known. */
  #failed: number
  /** Number of the turn at the position. */
  #turn = 0
  #isOver = false

  /**
   * @param advance what brings the next token about, if reading alone does; default: somebody else does
   * @throws HttpError 400 for a position that there cannot be yet
   */
  constructor(conversation: Conversation, { position, failed }: EventPosition, signal: AbortSignal, advance?: () => Promise<void>) {
    const { unfinished, length } = conversation
    const most = unfinished ? answerStart(unfinished) + unfinished.options.maxTokens : length
    if (position > most) throw new HttpError(400, 'BAD_ARGUMENT', `there is no event ${position}: the conversation has ${length} tokens`)
    this.#conversation = conversation
    this.#position = position
    this.#failed = failed
    this.#signal = signal
    this.#advance = advance
  }

  /** Whether there is nothing to tell, now or later. */
  get isEmpty(): boolean {
    const { unfinished, turns, length } = this.#conversation
    const last = turns.at(-1)
    const isFailureNew = typeof last?.end === 'object' && this.#failed < turns.length - 1
    return !unfinished && this.#position === length && !isFailureNew
  }

  /** @throws HttpError when the turn cannot be followed to its end; or the signal's reason */
  async next(): Promise<IteratorResult<string, undefined>> {
    for (;;) {
      if (this.#isOver) return { done: true, value: undefined }
      this.#signal.throwIfAborted()
      const events = this.#read()
      if (events !== '') return { done: false, value: events }
      if (!this.#conversation.unfinished) return { done: true, value: undefined }
      if (this.#conversation.failure) throw this.#conversation.failure
      await (this.#advance ?? (() => this.#change()))()
    }
  }

  async return(): Promise<IteratorResult<string, undefined>> {
    this.#isOver = true
    return { done: true, value: undefined }
  }

  /** The events that are there. */
  #read(): string {
    const events: string[] = []
    const { turns } = this.#conversation
    for (; this.#turn < turns.length; this.#turn++) {
      const turn = turns[this.#turn]!
      const start = answerStart(turn)
      if (turn.prompt.length > 0 && this.#position < start) {
        events.push(sseEvent({ prompt: turn.text ?? turn.prompt }, { event: 'prompt', id: String(start) }))
        this.#position = start
      }
      for (; this.#position < turnEnd(turn); this.#position++) {
        if (events.length >= MAX_EVENTS) return events.join('')
        events.push(tokenEvent(turn, this.#position - start))
      }
      if (turn.end === null) break
      if (typeof turn.end !== 'object' || this.#position > turnEnd(turn) || this.#failed >= this.#turn) continue
      const { code, message } = turn.end
      this.#failed = this.#turn
      const id = eventId({ position: this.#position, failed: this.#failed })
      events.push(sseEvent(errorBody(new HttpError(500, code as HttpErrorCode, message)), { id }))
    }
    return events.join('')
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        forget()
        this.#signal.removeEventListener('abort', end)
        resolve()
      }
      const forget = this.#conversation.listen(end)
      this.#signal.addEventListener('abort', end)
    })
  }
}

function tokenEvent(turn: Turn, index: number): string {
  const { ids, texts, end, prompt } = turn
  const isLast = index === ids.length - 1 && typeof end === 'string'
  const usage = { prompt_tokens: prompt.length, completion_tokens: ids.length, total_tokens: prompt.length + ids.length }
  const data = { text: texts[index]!, token: ids[index]!, finish_reason: isLast ? end : null, ...(isLast && { usage }) }
  return sseEvent(data, { id: String(answerStart(turn) + index + 1) })
}
