import type { EntryWriter, OpenFile } from '../sources/source.js'

/** Stores bytes by key. If any of these fails, the bytes count as not stored. */
export interface Store {
  open(key: string, what: string): Promise<OpenFile | undefined>
  /** @param size in bytes */
  create(key: string, size: number): Promise<EntryWriter>
  drop(key: string): Promise<void>
}
