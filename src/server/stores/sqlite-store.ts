import { describe, reasonOf, RoutedAttentionError } from '../../errors.js'
import { checkOptions, namesOf } from '../../options.js'
import { type Database, openDatabase, type Statement, type Value } from './sqlite-database.js'
import type { ConversationStore, StoredConversation } from './store.js'

/** Options of `SqliteStore`. */
export interface SqliteStoreOptions {
  /**
   * Days after which a conversation that nobody wrote to is forgotten, the next time that another is created. Default:
   * none ever is.
   */
  maxIdleDays?: number | undefined
}

const SQLITE_STORE_OPTIONS = namesOf<SqliteStoreOptions>({ maxIdleDays: true })

/** The layout of the tables, in the file's `user_version`. */
const VERSION = 1
/** Marks files of this kind ("RtAt"), in the file's `application_id`. */
const APPLICATION = 0x52744174

/*
 * WAL: readers and the writer do not wait for each other, and a process killed in the middle leaves the last commit.
 * FULL: a commit is on the disk before it counts, so that a power failure loses none either.
 * secure_delete: what was deleted is overwritten.
 */
const SETTINGS = `
PRAGMA busy_timeout = 10000;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA secure_delete = ON;`

const TABLES = `
CREATE TABLE conversations (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, written INTEGER NOT NULL);
CREATE INDEX conversations_by_age ON conversations (written);
CREATE TABLE entries (conversation INTEGER NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (conversation, name));
PRAGMA application_id = ${APPLICATION};
PRAGMA user_version = ${VERSION};`

/** Most conversations that are forgotten for their age at once. */
const MAX_EXPIRED = 100

const DAY = 86_400_000

/**
 * Keeps conversations in a file of SQLite, with `node:sqlite` (Node from 22.13, Deno) or `bun:sqlite`. What it has
 * written survives the death of the process at any moment. Beside the file lie `-wal` and `-shm`, which belong to it.
 */
export class SqliteStore implements ConversationStore {
  readonly #path: string
  readonly #database: Database
  readonly #statements = new Map<string, Statement>()
  readonly #maxIdleDays: number
  #isClosed = false

  /**
   * Opens the file, or creates it.
   * @param path ':memory:' for none
   * @throws RoutedAttentionError `UNSUPPORTED` where there is no SQLite (Node 20), `BAD_FILE` if the file cannot be
   * opened or is something else, `BAD_ARGUMENT`
   */
  constructor(path: string, options: SqliteStoreOptions = {}) {
    checkOptions('SqliteStore', options, SQLITE_STORE_OPTIONS)
    const { maxIdleDays = Infinity } = options
    if (typeof path !== 'string' || path === '')
      throw new RoutedAttentionError('BAD_ARGUMENT', `SqliteStore: path must be a file's path, got ${describe(path)}`)
    if (!(typeof maxIdleDays === 'number' && maxIdleDays > 0))
      throw new RoutedAttentionError('BAD_ARGUMENT', `SqliteStore: maxIdleDays must be a number above 0, got ${describe(maxIdleDays)}`)
    this.#path = path
    this.#maxIdleDays = maxIdleDays
    this.#database = this.#guard(() => openDatabase(path))
    try {
      this.#guard(() => this.#prepareFile())
    } catch (error) {
      this.#database.close()
      throw error
    }
  }

  #prepareFile(): void {
    this.#database.exec(SETTINGS)
    const numberOf = (pragma: string) => Number(this.#database.prepare(`PRAGMA ${pragma}`).get()?.[pragma])
    this.#transact(() => {
      const isEmpty = !this.#database.prepare('SELECT name FROM sqlite_schema LIMIT 1').get()
      if (isEmpty) this.#database.exec(TABLES)
      else if (numberOf('application_id') !== APPLICATION) throw new Error('it is a database of something else')
      const version = numberOf('user_version')
      if (version !== VERSION) throw new Error(`its layout is of version ${version}, this is version ${VERSION}`)
    })
  }

  /** See `ConversationStore`. */
  async read(id: string, prefix: string): Promise<StoredConversation | undefined> {
    return this.#guard(() =>
      this.#transact(() => {
        const row = this.#get('SELECT number, version FROM conversations WHERE id = ?', id)
        if (!row) return undefined
        const { number, version } = row as { number: number; version: number }
        const rows = this.#statement(
          'SELECT name, value FROM entries WHERE conversation = ? AND substr(name, 1, length(?)) = ? ORDER BY name',
        ).all(number, prefix, prefix) as { name: string; value: Uint8Array }[]
        return { version, entries: new Map(rows.map(({ name, value }) => [name, value])) }
      }, 'DEFERRED'),
    )
  }

  /** See `ConversationStore`. */
  async write(id: string, version: number, entries: ReadonlyMap<string, Uint8Array>): Promise<boolean> {
    return this.#guard(() =>
      this.#transact(() => {
        const now = Date.now()
        if (version === 1) {
          this.#expire(now)
          if (!this.#run('INSERT OR IGNORE INTO conversations (id, version, written) VALUES (?, 1, ?)', id, now)) return false
        } else if (
          !this.#run('UPDATE conversations SET version = ?, written = ? WHERE id = ? AND version = ?', version, now, id, version - 1)
        )
          return false
        const number = this.#get('SELECT number FROM conversations WHERE id = ?', id)!.number as number
        for (const [name, bytes] of entries)
          this.#run('INSERT OR REPLACE INTO entries (conversation, name, value) VALUES (?, ?, ?)', number, name, bytes)
        return true
      }),
    )
  }

  /** See `ConversationStore`. */
  async delete(id: string): Promise<boolean> {
    return this.#guard(() => this.#transact(() => this.#delete(id)))
  }

  /** Closes the file. Idempotent; other calls throw `DISPOSED` from then on. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#statements.clear()
    this.#database.close()
  }

  /** Same as `close`, for `using`. */
  [Symbol.dispose](): void {
    this.close()
  }

  #expire(now: number): void {
    if (this.#maxIdleDays === Infinity) return
    const rows = this.#statement('SELECT id FROM conversations WHERE written < ? ORDER BY written LIMIT ?').all(
      now - this.#maxIdleDays * DAY,
      MAX_EXPIRED,
    )
    for (const { id } of rows) this.#delete(id as string)
  }

  #delete(id: string): boolean {
    this.#run('DELETE FROM entries WHERE conversation = (SELECT number FROM conversations WHERE id = ?)', id)
    return this.#run('DELETE FROM conversations WHERE id = ?', id)
  }

  /** All or nothing. @param kind IMMEDIATE waits for other writers at once, since waiting later may fail */
  #transact<T>(work: () => T, kind = 'IMMEDIATE'): T {
    this.#database.exec(`BEGIN ${kind}`)
    try {
      const result = work()
      this.#database.exec('COMMIT')
      return result
    } catch (error) {
      try {
        this.#database.exec('ROLLBACK')
      } catch {
        // SQLite has rolled back itself
      }
      throw error
    }
  }

  /** @returns whether a row was changed */
  #run(sql: string, ...values: Value[]): boolean {
    return Number(this.#statement(sql).run(...values).changes) > 0
  }

  #get(sql: string, ...values: Value[]): Record<string, unknown> | undefined {
    return this.#statement(sql).get(...values) ?? undefined
  }

  #statement(sql: string): Statement {
    let statement = this.#statements.get(sql)
    if (!statement) this.#statements.set(sql, (statement = this.#database.prepare(sql)))
    return statement
  }

  #guard<T>(work: () => T): T {
    if (this.#isClosed) throw new RoutedAttentionError('DISPOSED', `the store in ${this.#path} was closed`)
    try {
      return work()
    } catch (error) {
      if (error instanceof RoutedAttentionError) throw error
      throw new RoutedAttentionError('BAD_FILE', `the store in ${this.#path} failed: ${reasonOf(error)}`, { cause: error })
    }
  }
}
