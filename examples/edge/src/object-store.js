// @ts-check

/** Bytes of a row. SQLite in Durable Objects takes 2 MB; a megabyte is read and written in good time. */
const ROW_BYTES = 2 ** 20
const DAY = 86_400_000

/**
 * Keeps one conversation in the SQLite database of the Durable Object that holds it. An entry that is larger than a row is
 * kept in parts. A row of `entries` is one row written, since the table is its own index.
 */
export class ObjectStore {
  #storage
  #idle

  /** @param {DurableObjectStorage} storage @param {number} idleDays after which a conversation that nobody writes to is deleted */
  constructor(storage, idleDays) {
    this.#storage = storage
    this.#idle = idleDays * DAY
  }

  /** @param {string} _id the object has one conversation @param {string} prefix */
  async read(_id, prefix) {
    const conversation = this.#conversation()
    if (!conversation) return undefined
    /** @type {Map<string, Uint8Array[]>} */
    const parts = new Map()
    const rows = this.#storage.sql.exec(
      'SELECT name, value FROM entries WHERE name >= ? AND name < ? ORDER BY name, part',
      prefix,
      `${prefix}~`,
    )
    for (const { name, value } of rows) {
      const bytes = new Uint8Array(/** @type {ArrayBuffer} */ (value))
      const before = parts.get(String(name))
      if (before) before.push(bytes)
      else parts.set(String(name), [bytes])
    }
    const entries = new Map([...parts].map(([name, list]) => [name, join(list)]))
    return { version: conversation.version, entries, release: () => entries.forEach(release) }
  }

  /** @param {string} _id @param {number} version @param {ReadonlyMap<string, Uint8Array>} entries */
  async write(_id, version, entries) {
    const { sql } = this.#storage
    const isWritten = this.#storage.transactionSync(() => {
      if (version !== (this.#conversation()?.version ?? 0) + 1) return false
      if (version === 1) {
        sql.exec('CREATE TABLE conversation (one INTEGER PRIMARY KEY, version INTEGER NOT NULL, written INTEGER NOT NULL)')
        sql.exec('CREATE TABLE entries (name TEXT, part INTEGER, value BLOB NOT NULL, PRIMARY KEY (name, part)) WITHOUT ROWID')
      }
      sql.exec('INSERT OR REPLACE INTO conversation VALUES (1, ?, ?)', version, Date.now())
      for (const [name, bytes] of entries) {
        let part = 0
        for (let at = 0; at < bytes.length || part === 0; at += ROW_BYTES, part++)
          sql.exec('INSERT OR REPLACE INTO entries VALUES (?, ?, ?)', name, part, bytes.subarray(at, at + ROW_BYTES))
        // an entry that had more parts before
        sql.exec('DELETE FROM entries WHERE name = ? AND part >= ?', name, part)
      }
      return true
    })
    // once: it is set again when it comes
    if (isWritten && version === 1) await this.#storage.setAlarm(Date.now() + this.#idle)
    return isWritten
  }

  async delete() {
    const wasThere = this.#conversation() !== undefined
    await this.#storage.deleteAlarm()
    await this.#storage.deleteAll()
    return wasThere
  }

  /** When the alarm comes: deletes everything, unless somebody has written meanwhile. @returns whether it did */
  async expire() {
    const conversation = this.#conversation()
    const end = (conversation?.written ?? 0) + this.#idle
    if (!conversation || end <= Date.now()) return this.delete()
    await this.#storage.setAlarm(end)
    return false
  }

  #conversation() {
    const { sql } = this.#storage
    if (sql.exec("SELECT name FROM sqlite_schema WHERE name = 'conversation'").toArray().length === 0) return undefined
    const [row] = sql.exec('SELECT version, written FROM conversation').toArray()
    return row && { version: Number(row.version), written: Number(row.written) }
  }
}

/** @param {Uint8Array[]} parts */
function join(parts) {
  const [first] = parts
  if (first && parts.length === 1) return first
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
    release(part)
  }
  return bytes
}

/**
 * Gives memory back at once: V8 would let 64 MB of it gather before it collects any.
 * @param {Uint8Array} bytes all of a buffer
 */
function release({ buffer }) {
  ;/** @type {ArrayBuffer} */ (buffer).transfer(0)
}
