/** A session's bytes after so many tokens. */
export interface Snapshot {
  readonly position: number
  readonly bytes: Uint8Array
}

/**
 * Saved sessions of one text, within a budget: close together near its end, sparser before, so that any token can be
 * computed again from one not far ahead of it.
 */
export class Snapshots {
  #kept: Snapshot[] = []
  #byteLength = 0

  constructor(private readonly budget: number) {}

  get positions(): number[] {
    return this.#kept.map(({ position }) => position)
  }

  get byteLength(): number {
    return this.#byteLength
  }

  add(snapshot: Snapshot): void {
    const at = this.#kept.findIndex(({ position }) => position >= snapshot.position)
    if (at >= 0 && this.#kept[at]!.position === snapshot.position) return
    this.#kept.splice(at < 0 ? this.#kept.length : at, 0, snapshot)
    this.#byteLength += snapshot.bytes.length
    while (this.#byteLength > this.budget && this.#kept.length > 1) this.#drop()
  }

  /** The last one that is not after a position. */
  before(position: number): Snapshot | undefined {
    return this.#kept.filter((snapshot) => snapshot.position <= position).at(-1)
  }

  /** Forgets what is after a position. */
  truncate(position: number): void {
    this.#kept = this.#kept.filter((snapshot) => snapshot.position <= position)
    this.#byteLength = this.#kept.reduce((sum, { bytes }) => sum + bytes.length, 0)
  }

  /** Forgets the one whose absence widens a gap the least, measured by the distance from the end. */
  #drop(): void {
    const end = this.#kept.at(-1).position
    let least = 0
    let smallest = Infinity
    for (let i = 0; i < this.#kept.length - 1; i++) {
      const gap = this.#kept[i + 1]!.position - (this.#kept[i - 1]?.position ?? 0)
      const cost = gap / (end - this.#kept[i]!.position + 1)
      if (cost < smallest) {
        smallest = cost
        least = i
      }
    }
    this.#byteLength -= this.#kept[least]!.bytes.length
    this.#kept.splice(least, 1)
  }
}
