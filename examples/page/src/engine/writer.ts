import type { GenerateOptions, Inspection, LanguageModel, Session } from 'routed-attention'
import type { Drawn, DrawnBy, HeldNow, Look, SamplingSettings, Piece, WriteEvent, WritingRate } from '../protocol.js'
import { drawnProbabilities } from './drawn.js'
import { heldBy, layerLooks } from './looking.js'
import { TextSession, type WrittenToken } from './text-session.js'
import type { TokenTexts } from './token-texts.js'

type Emit = (event: WriteEvent) => void

/** Tokens between snapshots: as many are read again at most to look at one. */
const SNAPSHOT_INTERVAL = 64
/** How often the newest token is looked at, if an expert took it as a query. */
const MILLISECONDS_A_LOOK = 1000
/** Of so many last tokens the newest query is looked at when writing ends. */
const LAST_LOOKED_AT = 16
/** How often tokens are sent to the page, which draws as often. */
const MILLISECONDS_A_BATCH = 33

/** A text that the model writes. */
export class Writer {
  readonly text: TextSession
  readonly #texts: TokenTexts
  readonly #window: number
  readonly #maxPositions: number
  /** Full-sequence routing cannot be inspected. */
  readonly #canInspect: boolean
  /** What was held was last sent at so many closed windows. */
  #windowsSent = -1

  constructor(model: LanguageModel, texts: TokenTexts) {
    // with full-sequence routing the bits of each token of the prompt are a pass over all tokens before it
    this.text = new TextSession(model, SNAPSHOT_INTERVAL, model.config.layer.causal)
    this.#maxPositions = model.config.maxPositions ?? Infinity
    this.#texts = texts
    this.#window = model.config.layer.routedWindowSize
    this.#canInspect = model.config.layer.causal
    this.#encode = (prompt) => Int32Array.from(model.tokenizer.encode(prompt, { allowSpecial: false }))
  }

  readonly #encode: (prompt: string) => Int32Array

  /** Reads a prompt and writes on. Of a prompt that would leave no room to write, the end is read. */
  async write(prompt: string, sampling: SamplingSettings, signal: AbortSignal, emit: Emit): Promise<WritingRate> {
    const ids = this.#encode(prompt)
    const most = Math.max(this.#maxPositions - sampling.maxTokens, Math.ceil(this.#maxPositions / 2))
    await this.#read(ids.slice(-Math.min(most, ids.length)), signal, emit)
    return this.#generate(sampling, signal, emit)
  }

  async branch(position: number, id: number, sampling: SamplingSettings, signal: AbortSignal, emit: Emit): Promise<WritingRate> {
    await this.text.truncate(position, signal)
    this.#windowsSent = -1
    await this.#read(Int32Array.of(id), signal, emit)
    return this.#generate(sampling, signal, emit)
  }

  /** With which probability some tokens are drawn at a position. */
  async drawn(position: number, ids: readonly number[], settings: DrawnBy, signal: AbortSignal): Promise<Drawn> {
    const logits = await this.text.logitsBefore(position, signal)
    const all = drawnProbabilities(logits, settings, this.text.contextOf(position))
    const probabilities = Float64Array.from(ids, (id) => all[id]!)
    for (const id of ids) all[id] = 0
    return { probabilities, others: all.reduce((sum, probability) => sum + probability, 0) }
  }

  async #read(ids: Int32Array, signal: AbortSignal, emit: Emit): Promise<void> {
    await this.text.append(ids, signal, (start) => this.#send(start, emit))
    await this.#sendHeld(signal, emit)
  }

  async #generate(sampling: SamplingSettings, signal: AbortSignal, emit: Emit): Promise<WritingRate> {
    const begin = performance.now()
    const rate = { tokens: 0, seconds: 0 }
    let sent = this.text.length
    let last = begin
    let looked = 0
    emit({ rate: { ...rate } }) // what follows is written, not given
    const send = (now: number): void => {
      if (sent < this.text.length) this.#send(sent, emit)
      sent = this.text.length
      last = now
      rate.seconds = (now - begin) / 1000
      emit({ rate: { ...rate } })
    }
    try {
      for await (const { id } of this.#tokens(sampling, signal)) {
        if (id >= 0) rate.tokens++
        const now = performance.now()
        if (now - last < MILLISECONDS_A_BATCH) continue
        send(now)
        await this.#sendHeld(signal, emit)
        if (now - looked > MILLISECONDS_A_LOOK && (await this.#sendLook(signal, emit))) looked = now
        await new Promise((resolve) => setTimeout(resolve)) // a message that stops it may be waiting
      }
    } catch (error) {
      if (!signal.aborted) throw error
    }
    send(performance.now())
    // also after a stop: the page shows the end of what was written
    const { signal: always } = new AbortController()
    await this.#sendHeld(always, emit)
    await this.#sendLastLook(always, emit)
    return rate
  }

  #tokens(sampling: SamplingSettings, signal: AbortSignal): AsyncGenerator<WrittenToken> {
    const room = this.#maxPositions - this.text.length
    if (room <= 0) throw new Error(`The text is as long as this model can write it: ${this.#maxPositions} tokens (max_positions).`)
    const { topK, repetitionPenalty, frequencyPenalty, presencePenalty, ...others } = sampling
    const options: GenerateOptions = { ...others, maxTokens: Math.min(others.maxTokens, room), signal }
    if (topK > 0) options.topK = topK
    if (repetitionPenalty !== 1) options.repetitionPenalty = repetitionPenalty
    if (frequencyPenalty !== 0) options.frequencyPenalty = frequencyPenalty
    if (presencePenalty !== 0) options.presencePenalty = presencePenalty
    return this.text.generate(options)
  }

  #send(start: number, emit: Emit): void {
    const { ids, bits, length } = this.text
    // the last token that was sent may be the beginning of a character
    const from = this.#texts.wholeStart(ids.view(), start)
    emit({ tokens: { start: from, texts: this.#texts.ofAll(ids.view(), from, length), bits: bits.view(from, length).slice() } })
  }

  /** What experts hold changes only when a window closes. */
  async #sendHeld(signal: AbortSignal, emit: Emit): Promise<void> {
    const windows = Math.floor((this.text.length - 1) / this.#window)
    if (!this.#canInspect || windows === this.#windowsSent || this.text.length === 0) return
    this.#windowsSent = windows
    const { length, stateBytes } = this.text
    const held = await this.#ofCopy((copy) => heldBy(copy, length, signal))
    emit({ held: { ...held, stateBytes } satisfies HeldNow })
  }

  /** @returns whether the newest token was a query, and was sent */
  async #sendLook(signal: AbortSignal, emit: Emit): Promise<boolean> {
    if (!this.#canInspect) return true
    const inspection = await this.#ofCopy((copy) => copy.inspect({ signal }))
    if (!isQueryInLastLayer(inspection)) return false
    this.#emitLook(inspection, emit)
    return true
  }

  /** The newest of the last tokens that was a query, or else the newest token. */
  async #sendLastLook(signal: AbortSignal, emit: Emit): Promise<void> {
    const { length, ids } = this.text
    if (!this.#canInspect || length === 0) return
    const from = Math.max(length - LAST_LOOKED_AT, 0)
    const session = await this.text.sessionAt(from, signal)
    try {
      let shown: Inspection | undefined
      for (let position = from; position < length; position++) {
        await session.append(ids.view(position, position + 1), { signal })
        const inspection = await session.inspect({ signal })
        if (isQueryInLastLayer(inspection) || (!shown && position === length - 1)) shown = inspection
      }
      this.#emitLook(shown!, emit)
    } finally {
      session.dispose()
    }
  }

  #emitLook(inspection: Inspection, emit: Emit): void {
    const { position, token } = inspection
    const bits = this.text.bits.view(position, position + 1)[0]!
    const chosen = { id: token, text: this.#texts.of(token), probability: 2 ** -bits }
    const nothing = { choices: [], heldTexts: new Map<number, Piece>(), unsupported: '' }
    emit({ look: { ...nothing, text: 'writing', position, bits, chosen, layers: layerLooks(inspection) } satisfies Look })
  }

  async #ofCopy<Result>(use: (copy: Session) => Promise<Result>): Promise<Result> {
    const copy = this.text.session.clone()
    try {
      return await use(copy)
    } finally {
      copy.dispose()
    }
  }

  dispose(): void {
    this.text.dispose()
  }
}

/** The page shows the last routed layer, unless another is chosen. */
function isQueryInLastLayer({ layers }: Inspection): boolean {
  const routed = layers.filter(({ isQuery }) => isQuery.length > 0)
  return routed.at(-1)?.isQuery.includes(true) ?? false
}
