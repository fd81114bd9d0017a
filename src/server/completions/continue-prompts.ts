import type { LanguageModel } from '../../model/language-model.js'
import { LogprobReader, type Sample } from '../../model/generation/logprob-reader.js'
import { mostProbable } from '../../model/generation/sampling.js'
import type { FinishReason } from '../../model/generation/generate.js'
import type { PrefixCache } from '../../model/prefix-cache.js'
import type { Session } from '../../model/session.js'
import type { Admitted } from '../admission.js'
import type { Usage } from '../log.js'
import type { CompletionRequest, Prompt } from './completion-request.js'
import { merge } from './merge.js'

/** A part of a choice's text. */
export interface Piece {
  /** Number of the choice: prompt times `n`, plus the choice of that prompt. */
  readonly index: number
  readonly text: string
  /** The tokens that it came with; a prompt's first one has no log-probability. */
  readonly tokens: readonly (Sample | { readonly id: number; readonly logprob: null })[]
  /** Set on the last piece of each choice. */
  readonly finishReason: FinishReason | null
}

/** What the choices of a request share. */
export interface Continuation {
  readonly model: LanguageModel
  /** What the prompts of this key have in common. */
  readonly prefixes: PrefixCache
  /** Whether a prompt may wait for another that begins alike. */
  readonly sharesReading: boolean
  readonly request: CompletionRequest
  readonly signal: AbortSignal
  readonly usage: Usage
  /** The place of its sessions. */
  readonly place: Pick<Admitted, 'hold' | 'touch'>
  /** Told of each session before it ends. */
  readonly onSession: (session: Session) => void
}

/** Continues all prompts of a request at the same time, each choice in a session of its own. */
export function continuePrompts(continuation: Continuation): AsyncGenerator<Piece, void, undefined> {
  return merge(continuation.request.prompts.map((prompt, number) => continuePrompt(prompt, number, continuation)))
}

/** Reads a prompt once and copies the session for each further choice. */
async function* continuePrompt(prompt: Prompt, number: number, continuation: Continuation): AsyncGenerator<Piece, void, undefined> {
  const { request, model, place, onSession } = continuation
  const { session, tokens } = await readPrompt(prompt, continuation)
  const sessions: Session[] = [session]
  place.hold(session)
  try {
    while (sessions.length < request.n) {
      const copy = session.clone()
      sessions.push(copy)
      place.hold(copy)
    }
    const first = number * request.n
    const text = request.echo ? (prompt.text ?? (model.hasTokenizer ? model.tokenizer.decode(prompt.ids) : '')) : ''
    if (request.echo) for (const choice of sessions.keys()) yield { index: first + choice, text, tokens, finishReason: null }
    yield* merge(sessions.map((session, choice) => continueSession(session, prompt, first + choice, choice, continuation)))
  } finally {
    for (const session of sessions) {
      onSession(session)
      session.dispose()
    }
  }
}

/** @returns a session that has read the prompt, and its tokens, if their log-probabilities are wanted */
async function readPrompt(
  { ids }: Prompt,
  { request, model, prefixes, sharesReading, signal, usage, place }: Continuation,
): Promise<{ session: Session; tokens: Piece['tokens'] }> {
  usage.promptTokens += ids.length
  if (!request.echo || request.logprobs === undefined) {
    const { session, cachedTokens } = await prefixes.read(ids, { signal, share: sharesReading, onProgress: () => place.touch() })
    usage.cachedTokens += cachedTokens
    return { session, tokens: [] }
  }
  const session = model.createSession()
  place.hold(session)
  try {
    // one by one, since the logits after each token are needed: those of all of them may take more memory than there is
    const reader = new LogprobReader(request.logprobs)
    const tokens: Piece['tokens'][number][] = []
    let logits: Float32Array | undefined
    for (const id of ids) {
      tokens.push(logits ? reader.read(logits, id, logits[mostProbable(logits)]!) : { id, logprob: null })
      logits = await session.append([id], { signal })
      place.touch()
    }
    return { session, tokens }
  } catch (error) {
    session.dispose()
    throw error
  }
}

async function* continueSession(
  session: Session,
  { ids }: Prompt,
  index: number,
  choice: number,
  { request: { generation, logprobs }, signal, usage, place }: Continuation,
): AsyncGenerator<Piece, void, undefined> {
  const { seed } = generation
  const options = { ...generation, seed: seed === undefined ? undefined : seed + choice, topLogprobs: logprobs, earlierIds: ids, signal }
  let finishReason: FinishReason | null = null
  for await (const { text, finishReason: reason, ...token } of session.generate(null, options)) {
    usage.completionTokens++
    place.touch()
    finishReason = reason
    yield { index, text, tokens: logprobs === undefined ? [] : [token], finishReason }
  }
  // there was no room for any token
  if (finishReason === null) yield { index, text: '', tokens: [], finishReason: 'length' }
}
