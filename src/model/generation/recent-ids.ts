/**
 * How many ids of a sequence's end are kept: a text stream begins with them, since decoders look at what came before.
 */
export const RECENT_IDS = 16

/** Ids kept of a sequence of `position` tokens. */
export function recentCount(position: number): number {
  return Math.min(RECENT_IDS, position)
}

/** The last ids of a sequence, in a ring: appending allocates nothing. */
export class RecentIds {
  /** The id at each position modulo `RECENT_IDS`. */
  readonly #ring = new Int32Array(RECENT_IDS)

  /** The token at `position` is `id`. */
  add(position: number, id: number): void {
    this.#ring[position % RECENT_IDS] = id
  }

  /** The tokens from `position` on are `ids`. */
  addAll(position: number, ids: Int32Array): void {
    for (let i = ids.length - recentCount(ids.length); i < ids.length; i++) this.add(position + i, ids[i]!)
  }

  /** A copy, oldest first, of what is kept at `position`: the place behind the last token that was added. */
  at(position: number): Int32Array {
    const first = position - recentCount(position)
    return Int32Array.from({ length: position - first }, (_, i) => this.#ring[(first + i) % RECENT_IDS]!)
  }
}
