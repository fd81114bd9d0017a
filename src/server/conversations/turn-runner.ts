import { RoutedAttentionError } from '../../errors.js'
import type { GeneratedToken } from '../../model/generation/generate.js'
import type { PrefixCache } from '../../model/prefix-cache.js'
import type { Session } from '../../model/session.js'
import type { Admitted } from '../admission.js'
import { toHttpError } from '../http-error.js'
import type { WorkItem } from '../work.js'
import type { Conversation } from './conversation.js'
import type { IdleSessions, OpenedSession, SessionKeeper } from './idle-sessions.js'
import { LASTING, SNAPSHOT, type Turn, type TurnEnd } from './record.js'

/** Tokens after which those of an unfinished answer are stored. */
const SAVE_INTERVAL = 64

/** What a turn that has ended, one way or another, took. */
export interface TurnUsage {
  readonly promptTokens: number
  /** Tokens of them that had been read before, for others. */
  readonly cachedTokens: number
  readonly completionTokens: number
}

/**
 * Answers the last turn of a conversation, to its end, whoever follows it. The end is stored before it is told, so that
 * whoever knows it finds it again.
 *
 * A turn that was interrupted goes on behind the tokens that were stored, which are read like words: whatever machine wrote
 * them.
 * @param prefixes what prompts have in common
 * @param place given back at the end
 * @param work ended at the end
 * @returns never rejects
 */
export async function runTurn(
  conversation: Conversation,
  sessions: IdleSessions,
  prefixes: PrefixCache,
  place: Admitted,
  work: WorkItem,
): Promise<TurnUsage> {
  const number = conversation.turns.length - 1
  const turn = conversation.turns[number]!
  const before = turn.ids.length
  let opened: OpenedSession | undefined
  let isKept = false
  try {
    opened = await sessions.open(conversation, turn, prefixes, work.signal)
    const answer = answerTurn(conversation, opened, work.signal)
    let step = await answer.next()
    while (!step.done) step = await answer.next()
    isKept = await finishTurn(conversation, opened.session, step.value, sessions)
  } catch (error) {
    await interrupt(conversation, turn, number, error)
  } finally {
    place.release(opened?.session.byteLength)
    if (!isKept) opened?.session.dispose()
    conversation.running = undefined
    conversation.changed()
    work.end()
  }
  const promptTokens = opened ? turn.prompt.length : 0
  return { promptTokens, cachedTokens: opened?.cachedTokens ?? 0, completionTokens: turn.ids.length - before }
}

/** How an answer ended, with its last token, which is not told yet. */
export interface Ending {
  readonly last: GeneratedToken | undefined
  readonly end: TurnEnd
}

/**
 * Answers the last turn of a conversation, a token at each step: tells it, and stores the tokens now and then. Tokens that
 * are known already are read with the turn's words.
 * @param onProgress called while these are read
 * @throws whatever reading does, or the signal's reason; errors that would come again are endings
 */
export async function* answerTurn(
  conversation: Conversation,
  { session, hasRead }: Pick<OpenedSession, 'session' | 'hasRead'>,
  signal: AbortSignal | undefined,
  onProgress?: () => void,
): AsyncGenerator<void, Ending, undefined> {
  const number = conversation.turns.length - 1
  const turn = conversation.turns[number]!
  const { prompt, options, ids, texts } = turn
  let last: GeneratedToken | undefined
  try {
    const earlierIds = hasRead ? prompt : []
    const words = hasRead || prompt.length === 0 ? null : prompt
    for await (const token of session.generate(words, { ...options, earlierIds, writtenIds: ids, signal, onProgress })) {
      if (token.finishReason !== null) last = token
      else {
        ids.push(token.id)
        texts.push(token.text)
        conversation.changed()
        if (ids.length % SAVE_INTERVAL === 0) await conversation.writeTurn(number, turn)
      }
      yield
    }
  } catch (error) {
    if (error instanceof RoutedAttentionError && LASTING.includes(error.code))
      return { last: undefined, end: { code: error.code, message: error.message } }
    throw error
  }
  const reason = last?.finishReason
  if (!last || !reason) throw new RoutedAttentionError('BAD_ARGUMENT', 'an answer ended without a last token')
  return { last, end: reason }
}

/** Stores the end of the last turn's answer, and tells it then. @returns whether the session is kept for the next turn */
export async function finishTurn(
  conversation: Conversation,
  session: Session,
  { last, end }: Ending,
  sessions: SessionKeeper,
): Promise<boolean> {
  const number = conversation.turns.length - 1
  const turn = conversation.turns[number]!
  const ids = last ? [...turn.ids, last.id] : turn.ids
  const texts = last ? [...turn.texts, last.text] : turn.texts
  const isWhole = session.position === turn.start + turn.prompt.length + ids.length
  const snapshot = isWhole ? sessions.snapshotOf(conversation, session) : []
  await conversation.writeTurn(number, { ...turn, ids, texts, end }, snapshot)
  if (snapshot.some(([name]) => name === SNAPSHOT)) conversation.snapshotAt = session.position
  if (last) {
    turn.ids.push(last.id)
    turn.texts.push(last.text)
  }
  turn.end = end
  // after an error it may have read less, and is read again
  const isKept = isWhole && !conversation.isStale
  if (isKept) sessions.keep(conversation, session)
  return isKept
}

/** Stores what was told, if that is possible, and lets go of the conversation. */
async function interrupt(conversation: Conversation, turn: Turn, number: number, error: unknown): Promise<void> {
  try {
    if (!conversation.isStale) await conversation.writeTurn(number, turn)
  } catch {
    // the same tokens come again
  }
  conversation.retire(toHttpError(error))
}
