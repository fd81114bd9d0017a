import { errorBody, HttpError, toHttpError } from './http-error.js'
import { sseEvent } from './reply.js'
import type { WorkItem } from './work.js'

/** Milliseconds without an event after which a comment is sent, so that nothing on the way takes the connection for dead. */
const KEEP_ALIVE = 15_000

/**
 * The body of an answer of server-sent events. An event is computed only when the client's connection asks for it, so that
 * a slow client holds up its own work and holds no memory. One that reads nothing for `stallTimeout` milliseconds is
 * given up; one that leaves aborts the work. An error after the answer has begun is sent as an event of its own, as
 * OpenAI's clients expect it.
 * @param onEnd called once, with what went wrong, when the iterator has ended
 */
export function eventBody(
  events: AsyncIterator<string, unknown, undefined>,
  work: WorkItem,
  stallTimeout: number,
  onEnd: (error?: unknown) => void,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder()
  let controller: ReadableStreamDefaultController<Uint8Array>
  let pending: Promise<IteratorResult<string, unknown>> | undefined
  let stall: ReturnType<typeof setTimeout> | undefined
  let isOver = false
  let hasLeft = false

  const send = (text: string) => controller.enqueue(encoder.encode(text))
  const awaitReader = () => {
    stall = setTimeout(() => {
      const late = new HttpError(408, 'TIMEOUT', `the client read nothing for ${stallTimeout} ms`)
      work.abort(late)
    }, stallTimeout)
  }
  /** Ends the answer. @param error undefined: it was complete @param last tells the client, unless it has left by then */
  const finish = async (error?: unknown, last?: () => void): Promise<void> => {
    if (isOver) return
    isOver = true
    clearTimeout(stall)
    work.signal.removeEventListener('abort', interrupt)
    await pending?.catch(() => {})
    await events.return?.().catch(() => {})
    onEnd(error)
    if (!hasLeft) last?.()
  }
  const fail = (error: unknown) =>
    finish(error, () => {
      send(sseEvent(errorBody(toHttpError(error))))
      controller.close()
    })
  // while an event is being computed, the abort reaches it there
  const interrupt = () => {
    if (!pending) void fail(work.signal.reason)
  }

  return new ReadableStream<Uint8Array>(
    {
      start: (given) => {
        controller = given
        work.signal.addEventListener('abort', interrupt)
        awaitReader()
      },
      pull: async () => {
        if (isOver) return // the end is about to come
        clearTimeout(stall)
        pending ??= events.next()
        try {
          const result = await orAfter(KEEP_ALIVE, pending)
          if (isOver) return
          if (result) pending = undefined
          if (result?.done) return await finish(undefined, () => controller.close())
          send(result ? result.value : ': waiting\n\n')
          if (work.signal.aborted && !pending) return await fail(work.signal.reason)
          awaitReader()
        } catch (error) {
          pending = undefined
          await fail(error)
        }
      },
      cancel: () => {
        hasLeft = true
        const left = new HttpError(499, 'CLIENT_LEFT', 'the client has left')
        const finished = finish(left) // first: the abort must not find an answer to write to
        work.abort(left)
        return finished
      },
    },
    { highWaterMark: 0 },
  )
}

/** What `work` resolves to; undefined if it takes longer. */
function orAfter<T>(milliseconds: number, work: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(undefined), milliseconds)
    work.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}
