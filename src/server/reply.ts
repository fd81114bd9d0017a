/** What a route answers. */
export interface Reply {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  /** Whole, or server-sent events, each as `sseEvent` writes it; null for no body. */
  readonly body: string | Uint8Array<ArrayBuffer> | AsyncIterator<string, unknown, undefined> | null
}

export function json(value: unknown, status = 200, headers: Readonly<Record<string, string>> = {}): Reply {
  return { status, headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(value) }
}

/**
 * Server-sent events. Each is computed when the client is ready for it. However the answer ends, `return` of the
 * iterator is called, unless it ended itself.
 */
export function eventStream(events: AsyncIterator<string, unknown, undefined>): Reply {
  return { status: 200, headers: { 'content-type': 'text/event-stream' }, body: events }
}

/**
 * One server-sent event. JSON has no line breaks, which would end the data.
 * @param id of the event, for `Last-Event-ID`
 */
export function sseEvent(data: unknown, { id, event }: { id?: string; event?: string } = {}): string {
  const lines = [...(event === undefined ? [] : [`event: ${event}`]), ...(id === undefined ? [] : [`id: ${id}`])]
  return [...lines, `data: ${typeof data === 'string' ? data : JSON.stringify(data)}`, '', ''].join('\n')
}
