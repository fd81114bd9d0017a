import { yieldToEventLoop } from '../event-loop.js'
import { RoutedAttentionError } from '../errors.js'
import type { Interrupt } from '../interrupt.js'
import type { AppendRequest } from './append-options.js'
import type { LogitsRequest, Sequence } from './executor/sequence.js'
import { surprisalOf } from './surprisal.js'

/** Beyond this, adding 1 no longer changes the number. Saved bytes may claim such a length. */
export const MAX_POSITIONS = Number.MAX_SAFE_INTEGER

/** @throws RoutedAttentionError `BAD_ARGUMENT` if a session has no room for `count` more tokens */
export function checkPositions(position: number, count: number, maxPositions: number | null): void {
  if (position + count <= (maxPositions ?? MAX_POSITIONS)) return
  const limit = maxPositions === null ? 'positions that can be counted' : `${maxPositions} positions (max_positions) of this model`
  throw new RoutedAttentionError('BAD_ARGUMENT', `append: ${count} tokens at position ${position} exceed the ${limit}`)
}

/** @returns why something cannot be appended during a generation */
export function busy(call: string): RoutedAttentionError {
  return new RoutedAttentionError(
    'BAD_ARGUMENT',
    `${call}: a generation is using this session; let it finish, or break out of its loop, before appending anything else`,
  )
}

/** Tokens that a sequence has read; it is unchanged until `commit`. */
interface AppendedTokens {
  /** After the last token, [V]. */
  readonly logits: Float32Array
  /** Of each token, or empty: see `AppendResult`. */
  readonly bits: Float32Array<ArrayBuffer>
  readonly commit: () => void
}

/**
 * Reads at least one token, with what was requested of them.
 * @param last logits before them, if any were read, and where those after them may be written, if anywhere
 */
export async function appendTokens(
  sequence: Sequence,
  ids: Int32Array,
  { onRead, bits: wantsBits = false }: AppendRequest,
  { last, into }: { last: Float32Array | undefined; into: Float32Array | undefined },
  interrupt: Interrupt,
): Promise<AppendedTokens> {
  const bits = new Float32Array(wantsBits ? ids.length : 0)
  if (wantsBits) bits[0] = last ? surprisalOf(await sequence.executor.logProbability(last, ids[0]!, interrupt)) : NaN
  const request: LogitsRequest = wantsBits ? { rows: 'last', targets: ids.subarray(1), into } : { rows: 'last', into }
  const pause = (tokensDone: number) => {
    interrupt.check()
    onRead?.(tokensDone)
    interrupt.check()
    return yieldToEventLoop()
  }
  const { result, commit } = await sequence.append(ids, request, pause, interrupt)
  if (wantsBits) result.logProbabilities.forEach((logProbability, index) => (bits[index + 1] = surprisalOf(logProbability)))
  return { logits: result.logits, bits, commit }
}
