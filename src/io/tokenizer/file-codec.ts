import { describe, RoutedAttentionError } from '../../errors.js'
import { type AddedToken, AddedTokenFinder, readAddedTokens } from './added-tokens.js'
import { bytesOfToken } from './byte-level.js'
import type { Codec, Encoding } from './codec.js'
import { Component, broken, unsupported } from './component.js'
import { BYTE_TOKEN, createDecoder, decodeBytes, type Decoder, readsByteTokens } from './decoders.js'
import { StepBudget } from './step-budget.js'
import { type ModelSource, readModel } from './models/create-model.js'
import type { TokenModel } from './models/model.js'
import { createNormalizer } from './normalizers.js'
import { createPreTokenizer, type PreTokenizer } from './pre-tokenizers.js'
import { chain, checkHeld, type EncodingContext, MAX_HELD, type Stage, type TextSink } from './stage.js'

/** Maximum number of consecutive components, each of which passes over the text. */
const MAX_STAGES = 200
/** Maximum nesting depth. */
const MAX_DEPTH = 128
const POST_PROCESSORS = ['BertProcessing', 'ByteLevel', 'RobertaProcessing', 'Sequence', 'TemplateProcessing']
const NOTHING: ReadonlySet<number> = new Set()

/**
 * Implements a tokenizer.json as Hugging Face's library (0.23) does: added tokens, normalizer, pre-tokenizer, model,
 * decoder.
 */
export class FileCodec implements Codec {
  private readonly bytes = new Map<number, Uint8Array>()
  private readonly model: TokenModel
  private plainModel: TokenModel | undefined

  private constructor(
    readonly size: number,
    private readonly source: ModelSource,
    private readonly normalizer: readonly Stage[],
    private readonly preTokenizer: PreTokenizer,
    private readonly addedTokens: readonly AddedToken[],
    private readonly addedTexts: ReadonlyMap<number, string>,
    private readonly raw: AddedTokenFinder,
    private readonly normalized: AddedTokenFinder,
    private readonly decoder: Decoder | undefined,
    private readonly isByteLevel: boolean,
    private readonly readsByteTokens: boolean,
  ) {
    this.model = source.create(NOTHING)
  }

  /**
   * @param numTokens size of the model's vocabulary, even if the file lists fewer
   * @throws RoutedAttentionError `BAD_FILE`, `UNSUPPORTED`
   */
  static read(json: unknown, numTokens: number): FileCodec {
    checkDepth(json)
    const file = Component.of(json, 'its whole')
    const version = file.value('version') ?? '1.0'
    if (version !== '1.0') throw unsupported(`version ${describe(version)} is unknown`)
    checkEncodesWhole(file)
    const source = readModel(part(file, 'model'))
    const normalizer = file.isNullOrAbsent('normalizer') ? [] : createNormalizer(part(file, 'normalizer'))
    const preTokenizer = file.isNullOrAbsent('pre_tokenizer')
      ? { stages: [], splits: false }
      : createPreTokenizer(part(file, 'pre_tokenizer'))
    if (normalizer.length + preTokenizer.stages.length > MAX_STAGES)
      throw unsupported(`more than ${MAX_STAGES} normalizers and pre-tokenizers`)
    if (!file.isNullOrAbsent('post_processor')) checkPostProcessor(part(file, 'post_processor'))
    const decoder = file.isNullOrAbsent('decoder') ? undefined : part(file, 'decoder')
    const suffix = decoder?.type === 'ByteLevel' ? part(file, 'model').affix('end_of_word_suffix') : ''
    const { vocabulary } = source
    const added = readAddedTokens(file.value('added_tokens') ?? [], vocabulary, normalizer)
    let size = numTokens
    for (const id of vocabulary.tokenOf.keys()) size = Math.max(size, id + 1)
    for (const { id } of added) size = Math.max(size, id + 1)
    const codec = new FileCodec(
      size,
      source,
      normalizer,
      preTokenizer,
      added,
      new Map(added.map(({ id, text }) => [id, text])),
      new AddedTokenFinder(added.filter(({ isNormalized }) => !isNormalized)),
      new AddedTokenFinder(added.filter(({ isNormalized }) => isNormalized)),
      decoder && (suffix === '' ? createDecoder(decoder) : endWordsWithSpace(createDecoder(decoder), suffix)),
      decoder?.type === 'ByteLevel' && suffix === '',
      decoder !== undefined && readsByteTokens(decoder),
    )
    codec.tryOut(json)
    return codec
  }

  begin(ids: number[], allowSpecial: boolean, isStream: boolean): Encoding {
    if (isStream && !this.preTokenizer.splits) {
      throw new RoutedAttentionError(
        'UNSUPPORTED',
        'encodeStream: this tokenizer never splits a text (pre_tokenizer), so it is one token of the model to the end; use encode',
      )
    }
    const budget = new StepBudget()
    const context: EncodingContext = { budget, isAtStart: true, maxHeld: isStream ? MAX_HELD : Infinity }
    const take = (id: number): void => void ids.push(id)
    const words = new Words(allowSpecial ? this.model : this.withoutSpecial(), ids, context)
    const sink = chain([
      this.raw.stage(take, allowSpecial, true),
      ...this.normalizer,
      this.normalized.stage(take, allowSpecial, false),
      ...this.preTokenizer.stages,
    ])(words, context)
    return {
      push(text, isEnd) {
        budget.grant(text.length)
        sink.push(text, isEnd)
      },
    }
  }

  decode(ids: readonly number[]): string {
    if (this.isByteLevel) return decodeBytes(ids.map((id) => this.bytesOf(id)!))
    const tokens = ids.map((id) => this.tokenOf(id)).filter((token) => token !== undefined)
    if (tokens.length === 0) return ''
    if (this.decoder === undefined) return tokens.join(' ')
    const budget = new StepBudget()
    budget.grant(tokens.reduce((length, token) => length + token.length, 0))
    return this.decoder(tokens, budget).join('')
  }

  bytesOf(id: number): Uint8Array | undefined {
    if (!this.isByteLevel) return undefined
    let bytes = this.bytes.get(id)
    if (bytes === undefined) this.bytes.set(id, (bytes = bytesOfToken(this.tokenOf(id) ?? '')))
    return bytes
  }

  isNamed(id: number): boolean {
    return this.tokenOf(id) !== undefined
  }

  isByteToken(id: number): boolean {
    return this.readsByteTokens && BYTE_TOKEN.test(this.tokenOf(id) ?? '')
  }

  private tokenOf(id: number): string | undefined {
    return this.addedTexts.get(id) ?? this.source.vocabulary.tokenOf.get(id)
  }

  /** A model that produces no special tokens, even if its vocabulary contains them as words. */
  private withoutSpecial(): TokenModel {
    if (this.plainModel === undefined) {
      const { tokenOf } = this.source.vocabulary
      const special = new Set(this.addedTokens.filter(({ id, isSpecial }) => isSpecial && tokenOf.has(id)).map(({ id }) => id))
      this.plainModel = special.size === 0 ? this.model : this.source.create(special)
    }
    return this.plainModel
  }

  /**
   * Encodes the file's own replacement texts, so that a file that makes texts grow without end is rejected before it is
   * used.
   */
  private tryOut(json: unknown): void {
    const samples = ['A word.']
    JSON.stringify(json, (key, value: unknown) => {
      if (key === 'vocab' || key === 'merges' || key === 'added_tokens') return undefined
      if (key === 'String' && typeof value === 'string' && samples.length < 100) samples.push(value.slice(0, 1000))
      return value
    })
    for (const sample of samples) {
      try {
        this.begin([], true, false).push(sample, true)
      } catch (error) {
        // Gaps in the vocabulary are reported by `encode`.
        if (error instanceof RoutedAttentionError && error.code === 'BAD_ARGUMENT') continue
        throw error
      }
    }
  }
}

/** The end of the pipeline: converts pre-tokens to ids. */
class Words implements TextSink {
  private word = ''

  constructor(
    private readonly model: TokenModel,
    private readonly ids: number[],
    private readonly context: EncodingContext,
  ) {}

  push(text: string, isEnd: boolean): void {
    this.word = this.word === '' ? text : this.word + text
    checkHeld(this.word.length, this.context)
    if (!isEnd || this.word === '') return
    const { word } = this
    this.word = ''
    this.model.tokenize(word, this.ids, this.context)
  }
}

function part(file: Component, field: string): Component {
  return Component.of(file.value(field), field)
}

/** For CLIP's vocabularies, whose decoder leaves `</w>` in the text: transformers replaces it with a space. */
function endWordsWithSpace(decoder: Decoder, suffix: string): Decoder {
  return (tokens, budget) => [decoder(tokens, budget).join('').replaceAll(suffix, ' ')]
}

/** A file that requests truncation or padding would get it everywhere, even in the middle of a prompt. */
function checkEncodesWhole(file: Component): void {
  if (!file.isNullOrAbsent('truncation')) throw unsupported('truncation would shorten every text; set it to null')
  if (file.isNullOrAbsent('padding')) return
  const padding = part(file, 'padding')
  if (padding.value('strategy') !== 'BatchLongest' || !padding.isNullOrAbsent('pad_to_multiple_of'))
    throw unsupported('padding would lengthen every text; set it to null')
}

/** They add special tokens and shift offsets, neither of which is used here. */
function checkPostProcessor(component: Component): void {
  if (!POST_PROCESSORS.includes(component.type)) throw component.unknown()
}

/** Deeply nested JSON would overflow the stack of any reader. */
function checkDepth(json: unknown): void {
  let level = [json]
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > MAX_DEPTH) throw broken(`nests more than ${MAX_DEPTH} levels deep`)
    const below: unknown[] = []
    for (const value of level)
      if (typeof value === 'object' && value !== null)
        for (const item of Object.values(value)) if (typeof item === 'object' && item !== null) below.push(item)
    level = below
  }
}
