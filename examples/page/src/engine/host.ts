import { createRuntime, LanguageModel, type Runtime } from 'routed-attention'
import type { Calls, Look, ModelFacts, ReadingProgress, TextName, TokenBatch, HeldNow, WriteEvent } from '../protocol.js'
import { factsOf } from './facts.js'
import { choicesOf, heldBy, heldTextsOf, layerLooks } from './looking.js'
import { Reader } from './reader.js'
import { Suggester } from './suggester.js'
import type { OpenText } from './text-session.js'
import { TokenTexts } from './token-texts.js'
import { Writer } from './writer.js'

const CHOICES = 8

/** The model, and what is open of it. Each method answers the call of its name. */
export class Host {
  #runtime: Runtime | undefined
  #model: LanguageModel | undefined
  #texts: TokenTexts | undefined
  #writer: Writer | undefined
  #reader: Reader | undefined
  #suggester: Suggester | undefined

  async load(
    { source, bytes, threads }: Calls['load']['params'],
    signal: AbortSignal,
    emit: (event: { done: number; total: number }) => void,
  ): Promise<ModelFacts> {
    this.#runtime ??= await createRuntime({ threads: threads ?? 'auto' })
    const isUrl = 'url' in source
    const model = await LanguageModel.load(isUrl ? new URL(source.url) : source.files, {
      runtime: this.#runtime,
      cache: isUrl, // the next visit loads without the network
      tokenizer: bytes ? 'bytes' : undefined,
      signal,
      onProgress: ({ done, total }) => emit({ done, total }),
    })
    if (!model.hasTokenizer) {
      model.dispose()
      throw Object.assign(new Error('there is no tokenizer.json among its files'), { code: 'NO_TOKENIZER' })
    }
    this.#close()
    this.#model = model
    return factsOf(model, isUrl ? nameOfFolder(source.url) : source.name)
  }

  write(
    { prompt, sampling }: Calls['write']['params'],
    signal: AbortSignal,
    emit: (event: WriteEvent) => void,
  ): Promise<Calls['write']['result']> {
    const { model, texts } = this.#open()
    if (prompt !== null || !this.#writer) {
      this.#writer?.dispose()
      this.#writer = new Writer(model, texts)
    }
    return this.#writer.write(prompt ?? '', sampling, signal, emit)
  }

  branch(
    { position, id, sampling }: Calls['branch']['params'],
    signal: AbortSignal,
    emit: (event: WriteEvent) => void,
  ): Promise<Calls['branch']['result']> {
    if (!this.#writer) throw new Error('Nothing is written yet.')
    return this.#writer.branch(position, id, sampling, signal, emit)
  }

  drawn({ position, ids, sampling }: Calls['drawn']['params'], signal: AbortSignal): Promise<Calls['drawn']['result']> {
    if (!this.#writer) throw new Error('Nothing is written yet.')
    return this.#writer.drawn(position, ids, sampling, signal)
  }

  async suggest({ text, tokens }: Calls['suggest']['params'], signal: AbortSignal): Promise<Calls['suggest']['result']> {
    const { model, texts } = this.#open()
    this.#suggester ??= new Suggester(model, texts)
    const begin = performance.now()
    const completion = await this.#suggester.suggest(text, tokens, signal)
    return { completion, milliseconds: performance.now() - begin }
  }

  read({ file }: Calls['read']['params'], signal: AbortSignal, emit: (event: ReadingProgress) => void): Promise<ReadingProgress> {
    const { model, texts } = this.#open()
    if (file) {
      this.#reader?.dispose()
      this.#reader = new Reader(model, texts, file)
    }
    if (!this.#reader) throw new Error('Nothing is being read yet.')
    return this.#reader.read(signal, emit)
  }

  async tokens({ text, start, end }: Calls['tokens']['params']): Promise<TokenBatch> {
    const { ids, bits } = this.#textOf(text)
    return { start, texts: this.#open().texts.ofAll(ids.view(), start, end), bits: bits.view(start, end).slice() }
  }

  async held({ text }: Calls['held']['params'], signal: AbortSignal): Promise<HeldNow> {
    const open = this.#textOf(text)
    const session = await open.sessionAt(open.length, signal)
    try {
      return await heldBy(session, open.length, signal)
    } finally {
      session.dispose()
    }
  }

  /** Everything about one token, computed again from the nearest snapshot. */
  async look({ text, position }: Calls['look']['params'], signal: AbortSignal): Promise<Look> {
    const { texts } = this.#open()
    const open = this.#textOf(text)
    const id = open.ids.view(position, position + 1)[0]!
    const session = await open.sessionAt(position, signal)
    try {
      const logits = position > 0 ? await session.append([], { signal }) : undefined
      const before = logits && choicesOf(logits, id, CHOICES, texts)
      if (logits && open === this.#writer?.text && !signal.aborted) this.#writer.text.keepLogits(position, logits)
      await session.append([id], { signal })
      const { layers, unsupported } = await session.inspect({ signal }).then(
        (inspection) => ({ layers: layerLooks(inspection), unsupported: '' }),
        (error: { code?: string; message: string }) => {
          if (error.code !== 'UNSUPPORTED') throw error
          return { layers: [], unsupported: error.message }
        },
      )
      const chosen = before?.chosen ?? { id, text: texts.of(id), probability: NaN }
      const known = open.bits.view(position, position + 1)[0]!
      const bits = Number.isNaN(known) ? -Math.log2(chosen.probability) : known
      const heldTexts = heldTextsOf(layers, open.ids.view(), texts)
      return { text, position, bits, choices: before?.choices ?? [], chosen, layers, heldTexts, unsupported }
    } finally {
      session.dispose()
    }
  }

  #textOf(name: TextName): OpenText {
    const text = name === 'writing' ? this.#writer?.text : this.#reader?.text
    if (!text) throw new Error('This text is not open.')
    return text
  }

  #open(): { model: LanguageModel; texts: TokenTexts } {
    if (!this.#model) throw new Error('No model is loaded yet.')
    this.#texts ??= new TokenTexts(this.#model.tokenizer)
    return { model: this.#model, texts: this.#texts }
  }

  #close(): void {
    for (const part of [this.#writer, this.#reader, this.#suggester, this.#model]) part?.dispose()
    this.#writer = this.#reader = this.#suggester = this.#texts = undefined
  }
}

function nameOfFolder(url: string): string {
  return new URL(url).pathname.split('/').filter(Boolean).at(-1) ?? url
}
