import { RoutedAttentionError } from '../../errors.js'
import type { GeneratedToken } from '../../model/generation/generate.js'
import type { Session } from '../../model/session.js'
import type { Admitted } from '../admission.js'
import { toHttpError } from '../http-error.js'
import type { WorkItem } from '../work.js'
import type { Conversation } from './conversation.js'
import type { IdleSessions } from './idle-sessions.js'
import { SNAPSHOT, type Turn, type TurnEnd } from './record.js'

/** Tokens after which those of an unfinished answer are stored. */
const SAVE_INTERVAL = 64

/** Errors that would come again: the turn ends with them. After others it is answered when it is asked for again. */
const LASTING: readonly string[] = ['NUMERIC', 'BAD_ARGUMENT', 'UNSUPPORTED']

/** What a turn that has ended, one way or another, took. */
export interface TurnUsage {
  readonly promptTokens: number
  readonly completionTokens: number
}

/**
 * Answers the last turn of a conversation, to its end, whoever follows it. The end is stored before it is told, so that
 * whoever knows it finds it again.
 *
 * A turn that was interrupted is answered anew from its beginning, with the same seed, so with the same tokens; those that
 * were stored are imposed on it, in case this machine would round otherwise.
 * @param place given back at the end
 * @param work ended at the end
 * @returns never rejects
 */
export async function runTurn(conversation: Conversation, sessions: IdleSessions, place: Admitted, work: WorkItem): Promise<TurnUsage> {
  const number = conversation.turns.length - 1
  const turn = conversation.turns[number]!
  let promptTokens = 0
  const before = turn.ids.length
  let session: Session | undefined
  let byteLength = 0
  try {
    session = await sessions.take(conversation, turn.start, work.signal)
    const end = await answer(conversation, turn, number, session, work.signal)
    promptTokens = turn.prompt.length
    byteLength = session.byteLength
    await finish(conversation, turn, number, session, end, sessions)
    session = undefined
  } catch (error) {
    await interrupt(conversation, turn, number, error)
  } finally {
    session?.dispose()
    conversation.running = undefined
    place.release(byteLength)
    conversation.changed()
    work.end()
  }
  return { promptTokens, completionTokens: turn.ids.length - before }
}

/** How an answer ended, with its last token, which is not told yet. */
interface Ending {
  readonly last: GeneratedToken | undefined
  readonly end: TurnEnd
}

async function answer(conversation: Conversation, turn: Turn, number: number, session: Session, signal: AbortSignal): Promise<Ending> {
  const { prompt, options, ids, texts } = turn
  const known = [...ids]
  const logitsProcessor = known.length === 0 ? undefined : imposing(known, prompt.length)
  let made = 0
  let last: GeneratedToken | undefined
  try {
    for await (const token of session.generate(prompt.length === 0 ? null : prompt, { ...options, logitsProcessor, signal })) {
      if (token.finishReason !== null) last = token
      else if (made++ >= known.length) {
        ids.push(token.id)
        texts.push(token.text)
        conversation.changed()
        if (ids.length % SAVE_INTERVAL === 0) await conversation.writeTurn(number, turn)
      }
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

/** Lets nothing be chosen but these tokens, and anything after them. */
function imposing(ids: readonly number[], promptLength: number): (logits: Float32Array, so: readonly number[]) => void {
  return (logits, so) => {
    const id = ids[so.length - promptLength]
    if (id === undefined) return
    logits.fill(-Infinity)
    logits[id] = 0
  }
}

async function finish(
  conversation: Conversation,
  turn: Turn,
  number: number,
  session: Session,
  { last, end }: Ending,
  sessions: IdleSessions,
): Promise<void> {
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
  if (isWhole && !conversation.isStale) sessions.keep(conversation, session)
  else session.dispose()
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
