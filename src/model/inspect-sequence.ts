import { yieldToEventLoop } from '../event-loop.js'
import { RoutedAttentionError } from '../errors.js'
import type { Interrupt } from '../interrupt.js'
import type { Sequence } from './executor/sequence.js'
import type { Inspection } from './inspection.js'

/**
 * @param recentIds the sequence's last ids, the newest last
 * @throws RoutedAttentionError `UNSUPPORTED`, `BAD_ARGUMENT`, `OUT_OF_MEMORY`; or what the interrupt's check throws
 */
export async function inspectSequence(sequence: Sequence, recentIds: Int32Array, interrupt: Interrupt): Promise<Inspection> {
  interrupt.check() // the call may have been aborted while it waited
  if (!sequence.inspect) {
    throw new RoutedAttentionError(
      'UNSUPPORTED',
      'inspect: only models with causal: true can be inspected; with the published routing, later tokens change what earlier ones attended to',
    )
  }
  const token = recentIds.at(-1)
  if (token === undefined) {
    throw new RoutedAttentionError('BAD_ARGUMENT', 'inspect: a session that has read nothing has no last token; append at least one')
  }
  const pause = () => {
    interrupt.check()
    return yieldToEventLoop()
  }
  const position = sequence.position - 1
  return { position, token, layers: await sequence.inspect(pause, interrupt) }
}
