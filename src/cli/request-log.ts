import type { LogEntry } from '../server/index.js'
import type { Terminal } from './command.js'
import { formatCount } from './format.js'

/** Writes a line to standard error for each request. */
export function createRequestLog(form: 'text' | 'json' | 'none', terminal: Terminal): ((entry: LogEntry) => void) | undefined {
  if (form === 'none') return undefined
  return (entry) => {
    const time = new Date().toISOString()
    if (form === 'json') return terminal.note(JSON.stringify({ time, ...entry }))
    terminal.note(`${time} ${describeRequest(entry)}`)
    for (const line of entry.defect?.split('\n') ?? []) terminal.note(`    ${line}`)
  }
}

/** Such as `POST /v1/completions 200 in 1,240 ms, waited 310 ms, read 12 tokens (8 cached), wrote 64`. */
export function describeRequest({
  method,
  route,
  status,
  code,
  milliseconds,
  queuedMilliseconds,
  promptTokens,
  cachedTokens,
  completionTokens,
}: LogEntry): string {
  const parts = [`${method} ${route === '' ? '(no such address)' : route} ${status}${code === undefined ? '' : ` ${code}`}`]
  parts[0] += ` in ${formatCount(Math.round(milliseconds))} ms`
  if (queuedMilliseconds >= 1) parts.push(`waited ${formatCount(Math.round(queuedMilliseconds))} ms`)
  if (promptTokens > 0)
    parts.push(`read ${formatCount(promptTokens)} tokens${cachedTokens > 0 ? ` (${formatCount(cachedTokens)} cached)` : ''}`)
  if (completionTokens > 0) parts.push(`wrote ${formatCount(completionTokens)}`)
  return parts.join(', ')
}
