import { RoutedAttentionError } from '../../errors.js'
import type { FinishReason } from '../../model/generation/generate.js'
import type { GenerateOptions } from '../../model/generation/generate-options.js'

/*
 * A conversation, as a store holds it: its entries are
 *
 *   log/head     the Head, JSON
 *   log/N        the Turn number N from 0, JSON
 *   snapshot     a saved session; it saves reading again what came before its position, and is not needed
 */

/** Prefix of all entries but the snapshot. */
export const LOG = 'log/'
const HEAD = `${LOG}head`
export const SNAPSHOT = 'snapshot'
/** A prefix of none, to learn the version alone. */
export const NO_ENTRY = 'none/'

/** The format of these entries. */
const FORMAT = 1

/** Characters of an `Idempotency-Key`. */
export const KEY_LENGTH = 255

/** Errors that would come again: a turn ends with them. After others it is answered when it is asked for again. */
export const LASTING: readonly string[] = ['NUMERIC', 'BAD_ARGUMENT', 'UNSUPPORTED']

/** What does not change. */
export interface Head {
  /** The model's fingerprint. */
  readonly model: string
  /** Fields that a turn's body has unless it says otherwise. */
  readonly defaults: Readonly<Record<string, unknown>>
}

/** Options of a turn; all that a generation depends on. */
export type TurnOptions = Pick<
  GenerateOptions,
  | 'temperature'
  | 'topP'
  | 'topK'
  | 'minP'
  | 'stop'
  | 'repetitionPenalty'
  | 'frequencyPenalty'
  | 'presencePenalty'
  | 'logitBias'
  | 'ignoreEos'
> & { readonly maxTokens: number; readonly seed: number }

/** Why a turn's answer is over: 'read' for words that get none; or an error that would come again. */
export type TurnEnd = FinishReason | 'read' | { readonly code: string; readonly message: string }

/** Words and the answer to them. */
export interface Turn {
  /** Tokens before it. */
  readonly start: number
  /** The `Idempotency-Key` it came with. */
  readonly key: string | null
  /** Digest of the body it came in: another body with the same key is a mistake. */
  readonly asked: string
  /** The words, if they came as text. */
  readonly text: string | null
  /** The words' tokens; none to go on without. */
  readonly prompt: readonly number[]
  readonly options: TurnOptions
  /** The answer's tokens so far, and the text that each made final. */
  readonly ids: number[]
  readonly texts: string[]
  /** null while it is being answered. */
  end: TurnEnd | null
}

/** What a client asks of a turn, checked. */
export type Asked = Pick<Turn, 'key' | 'asked' | 'text' | 'prompt' | 'options'>

/** Position of its answer: tokens before it. */
export function answerStart({ start, prompt }: Turn): number {
  return start + prompt.length
}

/** Tokens up to the last of its answer that is known. */
export function turnEnd(turn: Turn): number {
  return answerStart(turn) + turn.ids.length
}

/** The entries of a conversation that a store has none of yet. */
export function encodeEntries({
  head,
  turns,
  snapshot,
}: {
  head: Head
  turns: readonly Turn[]
  snapshot?: Uint8Array | undefined
}): Map<string, Uint8Array> {
  const entries = new Map([[HEAD, encode({ format: FORMAT, ...head })]])
  for (const [number, turn] of turns.entries()) entries.set(turnName(number), encodeTurn(turn))
  if (snapshot) entries.set(SNAPSHOT, snapshot)
  return entries
}

export function encodeTurn(turn: Turn): Uint8Array {
  return encode(turn)
}

/** The entry's name of the turn with this number. */
export function turnName(number: number): string {
  return `${LOG}${number}`
}

/** @throws RoutedAttentionError `BAD_FILE` */
export function decodeLog(entries: ReadonlyMap<string, Uint8Array>): { head: Head; turns: Turn[] } {
  const { format, ...head } = decode<Head & { format?: unknown }>(entries, HEAD)
  if (format !== FORMAT)
    throw new RoutedAttentionError('BAD_FILE', `a stored conversation is of format ${String(format)}, this is ${FORMAT}`)
  const turns: Turn[] = []
  for (let number = 0; entries.has(turnName(number)); number++) turns.push(decode<Turn>(entries, turnName(number)))
  return { head, turns }
}

function encode(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value))
}

function decode<T>(entries: ReadonlyMap<string, Uint8Array>, name: string): T {
  const bytes = entries.get(name)
  try {
    // the copy is there since TextDecoder refuses what a store may return: views of shared memory
    return JSON.parse(new TextDecoder().decode(new Uint8Array(bytes!))) as T
  } catch (cause) {
    throw new RoutedAttentionError('BAD_FILE', `a stored conversation has a broken entry ${name}`, { cause })
  }
}
