import type { OpenFile } from '../sources/source.js'

/** Keeps bytes by key. Any of these may fail, which counts as not kept. */
export interface Store {
  open(key: string, what: string): Promise<OpenFile | undefined>
  keep(key: string, parts: readonly Uint8Array[]): Promise<void>
  drop(key: string): Promise<void>
}
