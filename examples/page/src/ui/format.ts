import type { Piece } from '../protocol.js'

export function percent(value: number): string {
  if (!(value >= 0)) return ''
  if (value >= 0.0995) return `${(value * 100).toFixed(0)}\u00A0%`
  return value >= 0.001 ? `${(value * 100).toFixed(1)}\u00A0%` : '<\u00A00.1\u00A0%'
}

export function count(value: number): string {
  return value.toLocaleString('en')
}

export function parameters(value: number): string {
  return value < 1e6 ? `${count(value)} parameters` : `${(value / 1e6).toFixed(value < 1e7 ? 1 : 0)} million parameters`
}

export function megabytes(bytes: number): string {
  if (bytes < 1e5) return `${(bytes / 1e3).toFixed(0)} kB`
  return `${(bytes / 1e6).toFixed(1)} MB`
}

/** A token as a reader sees it: white space, control characters and lone bytes have no look of their own. */
export function visible(text: Piece): string {
  if (text === null || text instanceof Uint8Array) return lone(text)
  if (text === '') return '(no text)'
  if (isControl(text)) return lone(new TextEncoder().encode(text))
  const shown = text.replace(/\n/g, '↵').replace(/\t/g, '⇥').trim()
  return shown === '' ? '(space)' : shown
}

/** In words, how expected a token was. */
export function surprise(bits: number): string {
  if (!(bits >= 0)) return 'nothing came before'
  if (bits < 1) return 'expected'
  if (bits < 4) return 'plausible'
  if (bits < 8) return 'surprising'
  return 'very surprising'
}

/** Bytes that are no whole characters, as people write them. */
export function lone(bytes: Uint8Array | null): string {
  if (!bytes?.length) return 'part of a character'
  return `${bytes.length === 1 ? 'byte' : 'bytes'} ${hex(bytes)}`
}

export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).toUpperCase().padStart(2, '0')).join('\u00A0')
}

/** Whether a text is control characters alone, which fonts do not show; models of bytes write them. */
export function isControl(text: string): boolean {
  return /^[\x00-\x08\x0b-\x1f\x7f]+$/.test(text)
}
