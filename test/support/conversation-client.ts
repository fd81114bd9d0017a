/* Conversations as a client sees them, over any way to send a request. */
import type { MemoryStore } from '../../src/server/stores/memory-store.js'
import type { ConversationStore, StoredConversation } from '../../src/server/stores/store.js'

/** A server-sent event. */
export interface Received {
  readonly event: string
  readonly id: string
  readonly data: {
    readonly text?: string
    readonly token?: number
    readonly finish_reason?: string | null
    readonly usage?: { readonly prompt_tokens: number; readonly completion_tokens: number; readonly total_tokens: number }
    readonly prompt?: string | number[]
    readonly error?: { readonly code: string; readonly message: string; readonly type: string }
  }
}

export interface TurnAnswer {
  readonly turn: number
  readonly position: number
  readonly seed: number
  readonly events: string
}

export type Send = (request: Request) => Promise<unknown>

export const origin = 'http://127.0.0.1:1'

export async function send(
  handler: Send,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Response> {
  const content = body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }
  const type: Record<string, string> = body === undefined ? {} : { 'content-type': 'application/json' }
  return (await handler(new Request(new URL(path, origin), { method, headers: { ...type, ...headers }, ...content }))) as Response
}

export async function create(handler: Send, body: object = {}): Promise<string> {
  const response = await send(handler, 'POST', '/v1/conversations', body)
  if (response.status !== 201) throw new Error(`${response.status} ${await response.text()}`)
  return `/v1/conversations/${((await response.json()) as { id: string }).id}`
}

export function post(handler: Send, address: string, body: unknown, key?: string): Promise<Response> {
  return send(handler, 'POST', `${address}/turns`, body, key === undefined ? {} : { 'idempotency-key': key })
}

/** Takes a turn that must be taken. */
export async function turn(handler: Send, address: string, body: object, key?: string): Promise<TurnAnswer> {
  const response = await post(handler, address, body, key)
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`)
  return (await response.json()) as TurnAnswer
}

/** All events of an answer, to its end. */
export async function eventsOf(response: Response): Promise<Received[]> {
  if (response.status === 204) return []
  if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`)
  return parseEvents(await response.text())
}

export async function events(handler: Send, path: string, lastEventId?: string): Promise<Received[]> {
  return eventsOf(await send(handler, 'GET', path, undefined, lastEventId === undefined ? {} : { 'last-event-id': lastEventId }))
}

export function parseEvents(text: string): Received[] {
  const blocks = text.split('\n\n')
  if (blocks.pop() !== '') throw new Error(`an event broke off: ${text.slice(-200)}`)
  return blocks
    .filter((block) => !block.startsWith(':'))
    .map((block) => {
      const fields = Object.fromEntries(
        block.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]),
      )
      return { event: fields['event'] ?? 'message', id: fields['id'] ?? '', data: JSON.parse(fields['data'] ?? '') as Received['data'] }
    })
}

export const tokensOf = (received: readonly Received[]) => received.flatMap(({ data }) => data.token ?? [])
export const textOf = (received: readonly Received[]) => received.map(({ data }) => data.text ?? '').join('')

/** A store that may be made to wait, to fail, or to lose its process. */
export class UnreliableStore implements ConversationStore {
  /** Writes so far. */
  writes = 0
  /** Awaited before each write. */
  before: (write: number) => Promise<void> | void = () => {}
  /** Awaited after each write. */
  after: (write: number) => Promise<void> | void = () => {}

  constructor(readonly kept: MemoryStore) {}

  read(id: string, prefix: string): Promise<StoredConversation | undefined> {
    return this.kept.read(id, prefix)
  }

  async write(id: string, version: number, entries: ReadonlyMap<string, Uint8Array>): Promise<boolean> {
    const write = ++this.writes
    await this.before(write)
    const isWritten = await this.kept.write(id, version, entries)
    await this.after(write)
    return isWritten
  }

  delete(id: string): Promise<boolean> {
    return this.kept.delete(id)
  }
}
