import type { RuntimeInfo } from '../index.js'
import { escapeUnprintable } from './terminal-text.js'

export function formatCount(value: number): string {
  return value.toLocaleString('en-US')
}

/** Measurements here are accurate to about three digits. */
export function formatRate(perSecond: number): string {
  return perSecond >= 100 ? formatCount(Math.round(perSecond)) : perSecond.toPrecision(3)
}

export function formatBytes(bytes: number): string {
  return bytes >= 1e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e3).toFixed(1)} kB`
}

export function formatSeconds(seconds: number): string {
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
}

/** Progress of work on tokens after the given number of seconds, with the estimated time remaining. */
export function formatProgress(done: number, total: number, seconds: number): string {
  const share = `${formatCount(done)} of ${formatCount(total)} tokens`
  if (done === 0) return share
  const remaining = (seconds / done) * (total - done)
  return `${share}, ${formatRate(done / seconds)} tokens/s, ${formatSeconds(remaining)} left`
}

/** Short description of what a runtime runs on. */
export function formatRuntime({ device, adapter, simd, fused, threads }: RuntimeInfo): string {
  if (adapter !== undefined) return `${device} (${adapter})`
  return `${device}, ${simd} SIMD${fused ? ' (fused)' : ''}, ${threads} ${threads === 1 ? 'thread' : 'threads'}`
}

/** Names and values in two columns, one line each. */
export function formatTable(rows: readonly (readonly [name: string, value: string])[]): string {
  const width = Math.max(...rows.map(([name]) => name.length))
  return rows.map(([name, value]) => `${escapeUnprintable(name).padEnd(width)}  ${escapeUnprintable(value)}\n`).join('')
}
