import { describe, RoutedAttentionError } from '../../errors.js'
import { checkOptions, namesOf } from '../../options.js'
import type { ConversationStore, StoredConversation } from './store.js'

/** Options of `MemoryStore`. */
export interface MemoryStoreOptions {
  /**
   * Most bytes that its entries may have together; beyond, the conversations that were not read or written for longest
   * are forgotten. Default 256 MiB.
   */
  maxBytes?: number | undefined
}

const MEMORY_STORE_OPTIONS = namesOf<MemoryStoreOptions>({ maxBytes: true })

/** What an entry and a conversation take besides their bytes, roughly. */
const OVERHEAD = 200

interface Kept extends StoredConversation {
  readonly entries: Map<string, Uint8Array>
  byteLength: number
}

/** Keeps conversations in this process's memory: they end with it. */
export class MemoryStore implements ConversationStore {
  readonly #maxBytes: number
  /** In the order of their last use. */
  readonly #conversations = new Map<string, Kept>()
  #byteLength = 0

  /** @throws RoutedAttentionError `BAD_ARGUMENT` */
  constructor(options: MemoryStoreOptions = {}) {
    checkOptions('MemoryStore', options, MEMORY_STORE_OPTIONS)
    const { maxBytes = 256 * 2 ** 20 } = options
    if (!(typeof maxBytes === 'number' && maxBytes > 0))
      throw new RoutedAttentionError('BAD_ARGUMENT', `MemoryStore: maxBytes must be a number above 0, got ${describe(maxBytes)}`)
    this.#maxBytes = maxBytes
  }

  /** Bytes of all entries, with what they take besides. */
  get byteLength(): number {
    return this.#byteLength
  }

  /** See `ConversationStore`. */
  async read(id: string, prefix: string): Promise<StoredConversation | undefined> {
    const kept = this.#conversations.get(id)
    if (!kept) return undefined
    this.#use(id, kept)
    const entries = [...kept.entries].filter(([name]) => name.startsWith(prefix)).map(([name, bytes]) => [name, bytes.slice()] as const)
    return { version: kept.version, entries: new Map(entries) }
  }

  /** See `ConversationStore`. */
  async write(id: string, version: number, entries: ReadonlyMap<string, Uint8Array>): Promise<boolean> {
    const before = this.#conversations.get(id)
    if (version !== (before?.version ?? 0) + 1) return false
    const kept: Kept = { version, entries: before?.entries ?? new Map<string, Uint8Array>(), byteLength: before?.byteLength ?? OVERHEAD }
    for (const [name, bytes] of entries) {
      kept.byteLength += sizeOf(bytes) - sizeOf(kept.entries.get(name))
      kept.entries.set(name, new Uint8Array(bytes)) // `slice` of a Node Buffer does not copy
    }
    this.#byteLength += kept.byteLength - (before?.byteLength ?? 0)
    this.#use(id, kept)
    for (const oldest of this.#conversations.keys()) {
      if (this.#byteLength <= this.#maxBytes || oldest === id) break
      this.#forget(oldest)
    }
    return true
  }

  /** See `ConversationStore`. */
  async delete(id: string): Promise<boolean> {
    return this.#forget(id)
  }

  #use(id: string, kept: Kept): void {
    this.#conversations.delete(id)
    this.#conversations.set(id, kept)
  }

  #forget(id: string): boolean {
    this.#byteLength -= this.#conversations.get(id)?.byteLength ?? 0
    return this.#conversations.delete(id)
  }
}

function sizeOf(bytes: Uint8Array | undefined): number {
  return bytes ? bytes.length + OVERHEAD : 0
}
