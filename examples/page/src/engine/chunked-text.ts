import type { LanguageModel, Session } from 'routed-attention'
import { Growing } from './growing.js'
import type { OpenText } from './text-session.js'

/**
 * A text that is read in pieces, each by itself: for models whose later tokens change what earlier ones read, so that
 * every token of one session costs a pass over all before it.
 */
export class ChunkedText implements OpenText {
  readonly ids = new Growing((length) => new Int32Array(length))
  readonly bits = new Growing((length) => new Float32Array(length))

  /** @param piece tokens of a piece */
  constructor(
    private readonly model: LanguageModel,
    private readonly piece: number,
  ) {}

  get length(): number {
    return this.ids.length
  }

  /** Reads one piece at most, from its beginning; after an abort nothing of it is read. */
  async append(ids: Int32Array, signal: AbortSignal): Promise<void> {
    const bits = new Float32Array(ids.length).fill(NaN)
    await this.model.evaluate(ids, { chunk: ids.length, signal, onBits: (values, start) => bits.set(values, start) })
    this.ids.add(ids)
    this.bits.add(bits)
  }

  /** A session that has read the piece of a token as far as it; the caller disposes of it. */
  async sessionAt(position: number, signal: AbortSignal): Promise<Session> {
    const session = this.model.createSession()
    const before = this.ids.view(position - (position % this.piece), position)
    if (before.length > 0) await session.append(before, { signal })
    return session
  }

  dispose(): void {}
}
