import type { GenerateOptions, LanguageModel, Session } from 'routed-attention'
import { Growing } from './growing.js'
import { Snapshots } from './snapshots.js'

/** Bytes of saved sessions kept of one text, and of those made while looking at single tokens. */
const KEPT_BYTES = 96 * 2 ** 20
const NEAR_BYTES = 24 * 2 ** 20
/** Tokens between the sessions saved on the way to a token that is looked at. */
const NEAR_INTERVAL = 64
const NEAR_REACH = 8 * NEAR_INTERVAL

export interface WrittenToken {
  readonly id: number
  readonly text: string
  readonly bits: number
}

/** A text that was read, any token of which can be looked at. */
export interface OpenText {
  readonly ids: Growing<Int32Array<ArrayBuffer>>
  readonly bits: Growing<Float32Array<ArrayBuffer>>
  readonly length: number
  append(ids: Int32Array, signal: AbortSignal): Promise<void>
  /** A session of its own that has read what a token before a position needs; the caller disposes of it. */
  sessionAt(position: number, signal: AbortSignal): Promise<Session>
  dispose(): void
}

/** A text and the open session that has read it. Eight bytes a token are kept, and snapshots within a budget. */
export class TextSession implements OpenText {
  readonly ids = new Growing((length) => new Int32Array(length))
  readonly bits = new Growing((length) => new Float32Array(length))
  readonly #model: LanguageModel
  /** Tokens between snapshots. */
  readonly #interval: number
  readonly #snapshots = new Snapshots(KEPT_BYTES)
  readonly #near = new Snapshots(NEAR_BYTES)
  readonly #withBits: boolean
  #session: Session
  /** Counts what is written, so that going on with the same seed does not repeat itself. */
  #writings = 0
  /** From where to where each of them wrote what is still there. */
  #written: { start: number; end: number }[] = []
  /** The logits before the token that was looked at last. */
  #looked: { position: number; logits: Float32Array } | undefined

  /** @param withBits whether the bits of what is read are computed; they are NaN otherwise */
  constructor(model: LanguageModel, interval: number, withBits = true) {
    this.#model = model
    this.#withBits = withBits
    this.#interval = interval
    this.#session = model.createSession()
  }

  get length(): number {
    return this.ids.length
  }

  get session(): Session {
    return this.#session
  }

  get stateBytes(): number {
    return this.#session.byteLength
  }

  /** Reads tokens, piece by piece up to the next snapshot; what was read before an abort stays read. */
  async append(ids: Int32Array, signal: AbortSignal, onPiece: (start: number) => void = () => {}): Promise<void> {
    for (let at = 0; at < ids.length;) {
      const start = this.length
      const piece = ids.subarray(at, at + this.#interval - (start % this.#interval))
      if (this.#withBits) this.#add(piece, (await this.#session.append(piece, { bits: true, signal })).bits)
      else {
        await this.#session.append(piece, { signal })
        this.#add(piece, new Float32Array(piece.length).fill(NaN))
      }
      at += piece.length
      if (this.length % this.#interval === 0) this.#save()
      onPiece(start)
    }
  }

  /** Writes on. However the loop ends, the session has read every token that was yielded. */
  async *generate(options: GenerateOptions): AsyncGenerator<WrittenToken> {
    const seed = options.seed === undefined ? undefined : options.seed + this.#writings++
    const earlierIds = this.ids.view().slice()
    const written = { start: this.length, end: this.length }
    this.#written.push(written)
    for await (const { id, text, logprob } of this.#session.generate(null, { ...options, seed, earlierIds })) {
      const bits = -logprob / Math.LN2
      this.#add([id], [bits])
      written.end = this.length
      // the session may have yet to read this token
      const last = this.#snapshots.positions.at(-1) ?? 0
      if (this.#session.position - last >= this.#interval) this.#save()
      yield { id, text, bits }
    }
  }

  /** Forgets all tokens from a position on. */
  async truncate(position: number, signal: AbortSignal): Promise<void> {
    if (position >= this.length) return
    const session = await this.sessionAt(position, signal)
    this.#session.dispose()
    this.#session = session
    this.ids.truncate(position)
    this.bits.truncate(position)
    this.#snapshots.truncate(position)
    this.#near.truncate(position)
    this.#written = this.#written.filter(({ start }) => start < position)
    for (const written of this.#written) written.end = Math.min(written.end, position)
    if (this.#looked && this.#looked.position > position) this.#looked = undefined
  }

  /** What the generation that wrote a token had behind it; of a token that was given, as if one had begun there. */
  contextOf(position: number): { given: Int32Array; written: Int32Array } {
    const start = this.#written.find(({ start, end }) => start <= position && position < end)?.start ?? position
    return { given: this.ids.view(0, start), written: this.ids.view(start, position) }
  }

  /** Keeps the logits before a token that is looked at, in place of those of another one. */
  keepLogits(position: number, logits: Float32Array): void {
    this.#looked = { position, logits }
  }

  /** The logits from which a token was drawn. */
  async logitsBefore(position: number, signal: AbortSignal): Promise<Float32Array> {
    if (this.#looked?.position === position) return this.#looked.logits
    const session = await this.sessionAt(position, signal)
    try {
      const logits = await session.append([], { signal })
      // the text may have changed since it was aborted
      if (!signal.aborted) this.keepLogits(position, logits)
      return logits
    } finally {
      session.dispose()
    }
  }

  /** A session of its own that has read so many tokens; the caller disposes of it. */
  async sessionAt(position: number, signal: AbortSignal): Promise<Session> {
    if (position === this.length && position === this.#session.position) return this.#session.clone()
    const kept = this.#snapshots.before(position)
    const near = this.#near.before(position)
    const snapshot = (near?.position ?? -1) > (kept?.position ?? -1) ? near : kept
    const session = snapshot ? this.#model.restoreSession(snapshot.bytes) : this.#model.createSession()
    try {
      while (session.position < position) {
        const at = session.position
        const reach = Math.max(position - NEAR_REACH, at)
        // nothing is saved on the way until the token is near
        const next = at < reach - 1 ? reach - (reach % NEAR_INTERVAL) : at + NEAR_INTERVAL - (at % NEAR_INTERVAL)
        await session.append(this.ids.view(at, Math.min(Math.max(next, at + 1), position)), { signal })
        if (session.position % NEAR_INTERVAL === 0) this.#near.add({ position: session.position, bytes: session.save() })
      }
      return session
    } catch (error) {
      session.dispose()
      throw error
    }
  }

  dispose(): void {
    this.#session.dispose()
  }

  #add(ids: ArrayLike<number>, bits: ArrayLike<number>): void {
    this.ids.add(ids)
    this.bits.add(bits)
  }

  #save(): void {
    if (this.#session.position > 0) this.#snapshots.add({ position: this.#session.position, bytes: this.#session.save() })
  }
}
