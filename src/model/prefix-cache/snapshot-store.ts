import { type TrieNode, TokenTrie } from './token-trie.js'

/** The place of a snapshot: of a session that has read the ids that lead there. */
export type SnapshotNode = TrieNode<Uint8Array>

/** Snapshots of sessions by the ids that they have read, of limited size: the least recently used is the first to go. */
export class SnapshotStore {
  readonly #maxBytes: number
  readonly #trie = new TokenTrie<Uint8Array>()
  /** Nodes with a snapshot, least recently used first. */
  readonly #used = new Set<SnapshotNode>()
  #snapshotBytes = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /** Bytes of all snapshots and of the ids they belong to; at most `maxBytes`. */
  get byteLength(): number {
    return this.#snapshotBytes + this.#trie.idCount * Int32Array.BYTES_PER_ELEMENT
  }

  /** Number of snapshots. */
  get size(): number {
    return this.#used.size
  }

  /** The longest prefix with a snapshot, and of how many ids there is a snapshot or a continuation. */
  find(ids: Int32Array): { node: SnapshotNode | undefined; length: number; common: number } {
    return this.#trie.find(ids)
  }

  /** A snapshot that is needed again. */
  use(node: SnapshotNode): Uint8Array | undefined {
    if (node.value) this.#touch(node)
    return node.value
  }

  /** Keeps a snapshot, if it is not there yet, and if it fits; others go. @param save makes it */
  keep(ids: Int32Array, save: () => Uint8Array): void {
    const { node, length } = this.#trie.find(ids)
    if (node && length === ids.length) return this.#touch(node)
    if (ids.length === 0 || this.#maxBytes === 0) return
    const bytes = save()
    // alone it would not fit
    if (bytes.length + ids.length * Int32Array.BYTES_PER_ELEMENT > this.#maxBytes) return
    this.#used.add(this.#trie.set(ids, bytes))
    this.#snapshotBytes += bytes.length
    for (const oldest of this.#used) {
      if (this.byteLength <= this.#maxBytes) break
      this.#forget(oldest)
    }
  }

  clear(): void {
    for (const node of [...this.#used]) this.#forget(node)
  }

  #touch(node: SnapshotNode): void {
    this.#used.delete(node)
    this.#used.add(node)
  }

  #forget(node: SnapshotNode): void {
    this.#snapshotBytes -= node.value!.length
    this.#used.delete(node)
    this.#trie.delete(node)
  }
}
