/**
 * Number of trailing ids kept per sequence. Text streaming starts from them, since decoding depends on preceding
 * tokens.
 */
export const RECENT_IDS = 16

/** Number of ids kept for a sequence of `position` tokens. */
export function recentCount(position: number): number {
  return Math.min(RECENT_IDS, position)
}

/** Ring buffer of a sequence's last ids; appending does not allocate. */
export class RecentIds {
  /** The id at each position, modulo `RECENT_IDS`. */
  readonly #ring = new Int32Array(RECENT_IDS)

  /** Records the token at `position`. */
  add(position: number, id: number): void {
    this.#ring[position % RECENT_IDS] = id
  }

  /** Records the tokens from `position` on. */
  addAll(position: number, ids: Int32Array): void {
    for (let i = ids.length - recentCount(ids.length); i < ids.length; i++) this.add(position + i, ids[i]!)
  }

  /** A copy, oldest first, of the ids kept at `position`, one past the last token added. */
  at(position: number): Int32Array {
    const first = position - recentCount(position)
    return Int32Array.from({ length: position - first }, (_, i) => this.#ring[(first + i) % RECENT_IDS]!)
  }
}
