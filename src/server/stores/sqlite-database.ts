import { builtinModule } from '../../builtin-module.js'
import { RoutedAttentionError } from '../../errors.js'

/** What `node:sqlite` and `bun:sqlite` have in common, as far as it is used. */
export interface Database {
  exec(sql: string): unknown
  prepare(sql: string): Statement
  close(): void
}

/** A prepared statement; it takes the values of its parameters in order. */
export interface Statement {
  run(...values: Value[]): { changes: number | bigint }
  /** The first row, by column; undefined (in Bun null) if there is none. */
  get(...values: Value[]): Record<string, unknown> | null | undefined
  all(...values: Value[]): Record<string, unknown>[]
}

export type Value = string | number | Uint8Array

type Constructor = new (path: string) => Database

/**
 * Opens a file with the SQLite that comes with Bun, Node (from 22.13) or Deno.
 * @throws RoutedAttentionError `UNSUPPORTED` if none does; whatever opening throws
 */
export function openDatabase(path: string): Database {
  const bun = builtinModule<{ Database: Constructor }>('bun:sqlite')
  const Class = bun?.Database ?? builtinModule<{ DatabaseSync: Constructor }>('node:sqlite')?.DatabaseSync
  if (!Class)
    throw new RoutedAttentionError(
      'UNSUPPORTED',
      'SqliteStore needs the SQLite of Node 22.13 or newer, Deno or Bun, and this engine has none; use MemoryStore, or a store of your own',
    )
  return new Class(path)
}
