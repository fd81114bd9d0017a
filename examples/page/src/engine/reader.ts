import type { LanguageModel } from 'routed-attention'
import { READ_AT_ONCE, type ReadingProgress } from '../protocol.js'
import { ChapterFinder, SURE_AFTER } from './chapters.js'
import { ChunkedText } from './chunked-text.js'
import { type OpenText, TextSession } from './text-session.js'
import type { TokenTexts } from './token-texts.js'

/** Tokens that are one point of the curve. */
export const CURVE_STEP = 64
const MILLISECONDS_A_PROGRESS = 200
const encoder = new TextEncoder()

/** A file that is read in one session, at full speed. It can be stopped, and goes on where it was. */
export class Reader {
  readonly text: OpenText
  readonly #texts: TokenTexts
  readonly #chapters = new ChapterFinder()
  readonly #size: number
  readonly #ids: AsyncGenerator<Int32Array, void, undefined>
  /** Bytes of the tokens that were read. */
  #bytesRead = 0
  /** Ids that were encoded and are still to be read. */
  #waiting: Int32Array[] = []
  #curveSent = 0
  #chaptersSent = 0
  #seconds = 0
  #bitsSum = 0
  readonly #maxPositions: number
  readonly #piece: number

  constructor(model: LanguageModel, texts: TokenTexts, file: Blob) {
    const most = model.config.maxPositions ?? Infinity
    const { causal } = model.config.layer
    this.#piece = causal ? READ_AT_ONCE : Math.min(READ_AT_ONCE, most)
    this.text = causal ? new TextSession(model, READ_AT_ONCE) : new ChunkedText(model, this.#piece)
    this.#maxPositions = causal ? most : Infinity
    this.#texts = texts
    this.#size = file.size
    this.#ids = model.tokenizer.encodeStream(this.#chunksOf(file), { allowSpecial: false })
  }

  async read(signal: AbortSignal, emit: (progress: ReadingProgress) => void): Promise<ReadingProgress> {
    let last = performance.now()
    const seconds = this.#seconds
    const begin = last
    try {
      for (let ids = await this.#next(); ids; ids = await this.#next()) {
        const from = this.text.length
        try {
          await this.text.append(ids, signal)
        } finally {
          const read = this.text.length - from
          if (read < ids.length) this.#waiting.unshift(ids.subarray(read))
          this.#note(from)
          this.#seconds = seconds + (performance.now() - begin) / 1000
        }
        if (performance.now() - last < MILLISECONDS_A_PROGRESS) continue
        last = performance.now()
        emit(this.#progress(false))
      }
    } catch (error) {
      if (!signal.aborted) throw error
      return this.#progress(false)
    }
    if (this.#waiting.length > 0) {
      emit(this.#progress(false))
      throw new Error(`This model reads ${this.#maxPositions} tokens at most (max_positions): the rest of the text is not read.`)
    }
    return this.#progress(true)
  }

  /** The next piece: as much as fills one, or what is left; none when the model can read no more. */
  async #next(): Promise<Int32Array | undefined> {
    const room = this.#piece - (this.text.length % this.#piece)
    let held = this.#waiting.reduce((sum, { length }) => sum + length, 0)
    while (held < room) {
      const { value, done } = await this.#ids.next()
      if (done) break
      this.#waiting.push(value)
      held += value.length
    }
    const length = Math.min(room, held, this.#maxPositions - this.text.length)
    if (length === 0) return undefined
    const piece = new Int32Array(length)
    for (let at = 0; at < piece.length;) {
      const first = this.#waiting[0]!
      const part = first.subarray(0, piece.length - at)
      piece.set(part, at)
      at += part.length
      if (part.length === first.length) this.#waiting.shift()
      else this.#waiting[0] = first.subarray(part.length)
    }
    return piece
  }

  #note(from: number): void {
    const { ids, bits, length } = this.text
    const texts = this.#texts.ofAll(ids.view(), from, length)
    this.#bytesRead += encoder.encode(texts.filter((text) => typeof text === 'string').join('')).length
    for (const text of texts) if (text instanceof Uint8Array) this.#bytesRead += text.length
    this.#chapters.add(texts, from)
    for (const value of bits.view(from, length)) if (value === value) this.#bitsSum += value
  }

  #progress(isLast: boolean): ReadingProgress {
    const { bits, length } = this.text
    const points: number[] = []
    while (this.#curveSent + CURVE_STEP <= length || (isLast && this.#curveSent < length)) {
      const part = bits.view(this.#curveSent, this.#curveSent + CURVE_STEP).filter((value) => value === value)
      points.push(part.reduce((sum, value) => sum + value, 0) / Math.max(part.length, 1))
      this.#curveSent += CURVE_STEP
    }
    const sure = this.#chapters.chapters.filter(({ start }) => isLast || start + SURE_AFTER <= length)
    const chapters = sure.slice(this.#chaptersSent)
    this.#chaptersSent = sure.length
    return {
      tokens: length,
      bytesDone: isLast ? this.#size : Math.min(this.#bytesRead, this.#size),
      bytesTotal: this.#size,
      seconds: this.#seconds,
      bits: this.#bitsSum,
      curve: Float32Array.from(points),
      chapters,
    }
  }

  async *#chunksOf(file: Blob): AsyncGenerator<string> {
    const reader = file.stream().getReader()
    const decoder = new TextDecoder()
    try {
      for (let { value, done } = await reader.read(); !done; { value, done } = await reader.read()) {
        yield decoder.decode(value, { stream: true })
      }
      yield decoder.decode()
    } finally {
      reader.releaseLock()
    }
  }

  dispose(): void {
    this.text.dispose()
    void this.#ids.return()
  }
}
