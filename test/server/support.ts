/** Requests to a handler, without a network. */
import { expect } from 'vitest'
import type { Handler } from '../../src/server/index.js'

export interface Asked {
  status: number
  headers: Headers
  /** The body, parsed if it is JSON. */
  body: unknown
}

const BASE = 'http://server.test'

/** A request; a body that is no text is sent as JSON. */
export function requestOf(method: string, path: string, body?: unknown, init: RequestInit = {}): Request {
  const headers = new Headers(init.headers)
  if (body !== undefined && !headers.has('content-type')) headers.set('content-type', 'application/json')
  const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body)
  return new Request(`${BASE}${path}`, { ...init, method, headers, ...(text !== undefined && { body: text }) })
}

export async function ask(handler: Handler, method: string, path: string, body?: unknown, init?: RequestInit): Promise<Asked> {
  return read(await handler(requestOf(method, path, body, init)))
}

export async function read(response: Response): Promise<Asked> {
  const text = await response.text()
  const isJson = response.headers.get('content-type') === 'application/json'
  return { status: response.status, headers: response.headers, body: isJson ? (JSON.parse(text) as unknown) : text }
}

/** The body of an error. */
export function fault(code: string, message: RegExp, param: string | null = null): unknown {
  return { error: { message: expect.stringMatching(message), type: expect.any(String), param, code } }
}

/** A body that arrives in these parts, and then not at all unless it `ends`. */
export function partsOf(parts: readonly string[], ends = true): ReadableStream<Uint8Array> {
  const left = [...parts]
  return new ReadableStream({
    pull: (controller) => {
      const part = left.shift()
      if (part !== undefined) controller.enqueue(new TextEncoder().encode(part))
      else if (ends) controller.close()
      else return new Promise(() => {})
      return undefined
    },
  })
}
