import type { ConversationStore, StoredConversation } from 'routed-attention/server'

/*
 * Conversations in Deno KV, whose values hold 64 KiB and whose commits hold 800 KiB:
 *
 *   conversations ID                            the Pointer
 *   pieces LIFE GENERATION BLOB PIECE           part of an entry, or of the manifest, which lists the entries; never changed
 *   garbage GENERATION                          prefixes of pieces that nobody needs, if whoever wrote this has died
 *
 * A write makes a new generation of pieces and flips the pointer, in one commit if that holds them. If not, garbage is
 * noted before each step that could be the last: the new pieces until the pointer leads to them, and then those that they
 * replace. So a crash loses nothing: the pointer leads to all of the old or all of the new, and `collect` deletes the rest.
 */

/** A blob's generation, its number in it, and how many pieces it has. */
type Blob = readonly [generation: string, blob: number, pieces: number]

interface Pointer {
  readonly version: number
  /** Time of the last write, in milliseconds since 1970. */
  readonly written: number
  /** Distinguishes the pieces of a conversation from those of an earlier one of the same id. */
  readonly life: string
  readonly manifest: Blob
}

interface Garbage {
  readonly since: number
  readonly prefixes: readonly Deno.KvKey[]
}

type Piece = readonly [key: Deno.KvKey, bytes: Uint8Array]

/** Bytes of a piece: a value's limit is 65,536, its encoding included. */
const PIECE_BYTES = 60_000
/** Bytes and pieces of a commit, whose limits are 819,200 bytes, 1,000 mutations, and 81,920 bytes of keys. */
const COMMIT_BYTES = 600_000
const COMMIT_PIECES = 200
/** Keys that may be read at once. */
const READ_PIECES = 10
const MAX_ATTEMPTS = 10

/** Options of `KvStore`. */
export interface KvStoreOptions {
  /** Milliseconds after which a write is taken for dead; longer than any may take. Default 600,000. */
  abandonedAfter?: number
}

/** Keeps conversations in Deno KV. */
export class KvStore implements ConversationStore {
  readonly #kv: Deno.Kv
  readonly #abandonedAfter: number

  constructor(kv: Deno.Kv, { abandonedAfter = 600_000 }: KvStoreOptions = {}) {
    this.#kv = kv
    this.#abandonedAfter = abandonedAfter
  }

  async read(id: string, prefix: string): Promise<StoredConversation | undefined> {
    for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
      const { value: pointer } = await this.#kv.get<Pointer>(pointerKey(id))
      if (!pointer) return undefined
      const manifest = await this.#readManifest(pointer)
      const names = manifest && [...manifest.keys()].filter((name) => name.startsWith(prefix))
      const blobs = names && (await this.#readBlobs(pointer.life, names.map((name) => manifest.get(name)!))) // prettier-ignore
      if (blobs) return { version: pointer.version, entries: new Map(names.map((name, index) => [name, blobs[index]!])) }
      // a piece is gone: another process has written meanwhile
    }
    throw new Error('the conversation changes faster than it can be read')
  }

  async write(id: string, version: number, entries: ReadonlyMap<string, Uint8Array>): Promise<boolean> {
    const before = await this.#kv.get<Pointer>(pointerKey(id))
    if (version !== (before.value?.version ?? 0) + 1) return false
    const manifest = before.value ? await this.#readManifest(before.value) : new Map<string, Blob>()
    if (!manifest) return false // another process has written meanwhile

    const life = before.value?.life ?? crypto.randomUUID()
    const generation = crypto.randomUUID()
    const replaced: Blob[] = before.value ? [before.value.manifest] : []
    const pieces: Piece[] = []
    const add = (bytes: Uint8Array, blob: number): Blob => {
      const parts = Math.ceil(bytes.length / PIECE_BYTES)
      for (let part = 0; part < parts; part++)
        pieces.push([pieceKey(life, generation, blob, part), bytes.slice(part * PIECE_BYTES, (part + 1) * PIECE_BYTES)])
      return [generation, blob, parts]
    }
    let blob = 0
    for (const [name, bytes] of entries) {
      const old = manifest.get(name)
      if (old) replaced.push(old)
      manifest.set(name, add(new Uint8Array(bytes), blob++))
    }
    const list = new TextEncoder().encode(JSON.stringify([...manifest]))
    const pointer: Pointer = { version, written: Date.now(), life, manifest: add(list, blob) }
    const flip = () => this.#kv.atomic().check(before).set(pointerKey(id), pointer)

    const removed = replaced.flatMap((old) => keysOf(life, old))
    if (pieces.length + removed.length <= COMMIT_PIECES && sizeOf(pieces) <= COMMIT_BYTES) {
      const commit = flip()
      for (const [key, bytes] of pieces) commit.set(key, bytes)
      for (const key of removed) commit.delete(key)
      return (await commit.commit()).ok
    }

    const note: Garbage = { since: Date.now(), prefixes: [['pieces', life, generation]] }
    const { versionstamp } = await this.#kv.set(garbageKey(generation), note)
    for (const batch of batches(pieces)) {
      const commit = this.#kv.atomic()
      for (const [key, bytes] of batch) commit.set(key, bytes)
      await commit.commit()
    }
    const old: Garbage = { since: note.since, prefixes: replaced.map(([of, number]) => ['pieces', life, of, number]) }
    // the check: whoever took this write for dead has begun to delete its pieces
    const { ok } = await flip()
      .check({ key: garbageKey(generation), versionstamp })
      .set(garbageKey(generation), old)
      .commit()
    // what is not deleted now is when `collect` runs
    await this.#sweep(garbageKey(generation), ok ? old : note).catch(() => {})
    return ok
  }

  async delete(id: string): Promise<boolean> {
    for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
      const before = await this.#kv.get<Pointer>(pointerKey(id))
      if (!before.value) return false
      const key = garbageKey(crypto.randomUUID())
      const garbage: Garbage = { since: Date.now(), prefixes: [['pieces', before.value.life]] }
      const { ok } = await this.#kv.atomic().check(before).delete(pointerKey(id)).set(key, garbage).commit()
      if (!ok) continue
      await this.#sweep(key, garbage).catch(() => {})
      return true
    }
    throw new Error('the conversation changes faster than it can be deleted')
  }

  /** Deletes what processes that died have left; to be called now and then. */
  async collect(): Promise<void> {
    for await (const { key, value, versionstamp } of this.#kv.list<Garbage>({ prefix: ['garbage'] })) {
      if (Date.now() - value.since < this.#abandonedAfter) continue
      // whoever wrote it, if it lives after all, must not flip its pointer any more
      const { ok } = await this.#kv.atomic().check({ key, versionstamp }).set(key, value).commit()
      if (ok) await this.#sweep(key, value)
    }
  }

  /** Forgets the conversations that nobody wrote to for so many days. */
  async expire(days: number): Promise<void> {
    const last = Date.now() - days * 86_400_000
    for await (const { key, value } of this.#kv.list<Pointer>({ prefix: ['conversations'] }))
      if (value.written < last) await this.delete(key[1] as string)
  }

  async #sweep(key: Deno.KvKey, { prefixes }: Garbage): Promise<void> {
    for (const prefix of prefixes) {
      let commit = this.#kv.atomic()
      let count = 0
      for await (const piece of this.#kv.list({ prefix })) {
        commit.delete(piece.key)
        if (++count % COMMIT_PIECES > 0) continue
        await commit.commit()
        commit = this.#kv.atomic()
      }
      await commit.commit()
    }
    await this.#kv.delete(key)
  }

  async #readManifest({ life, manifest }: Pointer): Promise<Map<string, Blob> | undefined> {
    const bytes = (await this.#readBlobs(life, [manifest]))?.[0]
    return bytes && new Map(JSON.parse(new TextDecoder().decode(bytes)) as [string, Blob][])
  }

  /** @returns undefined if a piece is not there any more */
  async #readBlobs(life: string, blobs: readonly Blob[]): Promise<Uint8Array[] | undefined> {
    const keys = blobs.flatMap((blob) => keysOf(life, blob))
    const pieces: Uint8Array[] = []
    for (let from = 0; from < keys.length; from += READ_PIECES)
      for (const { value } of await this.#kv.getMany<Uint8Array[]>(keys.slice(from, from + READ_PIECES))) {
        if (!value) return undefined
        pieces.push(value)
      }
    return blobs.map(([, , parts]) => join(pieces.splice(0, parts)))
  }
}

function pointerKey(id: string): Deno.KvKey {
  return ['conversations', id]
}

function garbageKey(generation: string): Deno.KvKey {
  return ['garbage', generation]
}

function pieceKey(life: string, generation: string, blob: number, piece: number): Deno.KvKey {
  return ['pieces', life, generation, blob, piece]
}

function keysOf(life: string, [generation, blob, pieces]: Blob): Deno.KvKey[] {
  return Array.from({ length: pieces }, (_, piece) => pieceKey(life, generation, blob, piece))
}

function sizeOf(pieces: readonly Piece[]): number {
  return pieces.reduce((sum, [, { length }]) => sum + length, 0)
}

/** Pieces in groups of which each fits into a commit. */
function* batches(pieces: readonly Piece[]): Generator<Piece[]> {
  let batch: Piece[] = []
  for (const piece of pieces) {
    if (batch.length === COMMIT_PIECES || sizeOf(batch) + piece[1].length > COMMIT_BYTES) {
      yield batch
      batch = []
    }
    batch.push(piece)
  }
  yield batch
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let offset = 0
  for (const part of parts) {
    bytes.set(part, offset)
    offset += part.length
  }
  return bytes
}
