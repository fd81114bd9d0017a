import type { OpenFile } from '../sources/source.js'

/** Stores bytes by key. If any of these fails, the bytes count as not stored. */
export interface Store {
  open(key: string, what: string): Promise<OpenFile | undefined>
  keep(key: string, parts: readonly Uint8Array[]): Promise<void>
  drop(key: string): Promise<void>
}
