import { describe } from '../../errors.js'
import { codePointBefore } from './char-set.js'
import { whitespace, wordCharacters } from './characters.js'
import { Component, broken, unsupported } from './component.js'
import { StepBudget } from './step-budget.js'
import { isTokenId, type Vocabulary } from './models/model.js'
import { chain, checkHeld, type EncodingContext, type Stage, type TextSink } from './stage.js'

/** A token that is searched for in the text, before or after normalization. */
export interface AddedToken {
  readonly id: number
  readonly content: string
  /** The text searched for and decoded: the token's content, normalized if the token is `normalized`. */
  readonly text: string
  readonly isSingleWord: boolean
  readonly stripsLeft: boolean
  readonly stripsRight: boolean
  readonly isNormalized: boolean
  readonly isSpecial: boolean
}

/**
 * Reads `added_tokens`. Ids are assigned as in Hugging Face's library, whatever the file says: the vocabulary's, or the
 * next one beyond it.
 * @throws RoutedAttentionError `BAD_FILE`, `UNSUPPORTED` (a text that the normalizer makes grow without end)
 */
export function readAddedTokens(list: unknown, vocabulary: Vocabulary, normalizer: readonly Stage[]): AddedToken[] {
  if (!Array.isArray(list)) throw broken(`must have a list of added_tokens, got ${describe(list)}`)
  const byContent = new Map<string, AddedToken>()
  let nextId = vocabulary.count
  for (const [index, json] of (list as unknown[]).entries()) {
    const token = Component.of(json, `added_tokens[${index}]`)
    const content = token.string('content')
    if (!isTokenId(token.value('id'))) throw token.unfit('id', 'an id', token.value('id'))
    if (content === '') continue
    // If a file gives other ids, the library still uses its own.
    const id = byContent.get(content)?.id ?? vocabulary.idOf.get(content) ?? nextId++
    const isSpecial = token.boolean('special', false)
    const isNormalized = token.boolean('normalized', !isSpecial)
    byContent.set(content, {
      id,
      content,
      text: isNormalized ? normalize(content, normalizer) : content,
      isSingleWord: token.boolean('single_word', false),
      stripsLeft: token.boolean('lstrip', false),
      stripsRight: token.boolean('rstrip', false),
      isNormalized,
      isSpecial,
    })
  }
  return [...byContent.values()]
}

function normalize(content: string, normalizer: readonly Stage[]): string {
  let text = ''
  const budget = new StepBudget()
  budget.grant(content.length)
  const sink = { push: (part: string) => void (text += part) }
  chain(normalizer)(sink, { budget, isAtStart: true, maxHeld: Infinity }).push(content, true)
  return text
}

interface TrieNode {
  readonly children: Map<number, TrieNode>
  token: AddedToken | undefined
}

/** Finds added tokens in a text: the leftmost first, and the longest at each position. */
export class AddedTokenFinder {
  private readonly root: TrieNode = { children: new Map(), token: undefined }
  private readonly stripsLeft: boolean

  /** @throws RoutedAttentionError `UNSUPPORTED` for tokens whose normalized texts are equal or empty */
  constructor(readonly tokens: readonly AddedToken[]) {
    this.stripsLeft = tokens.some(({ stripsLeft }) => stripsLeft)
    for (const token of tokens) {
      if (token.text === '') throw unsupported(`the added token ${describe(token.content)} is empty once it is normalized`)
      let node = this.root
      for (let i = 0; i < token.text.length; i++) {
        const unit = token.text.charCodeAt(i)
        let child = node.children.get(unit)
        if (child === undefined) node.children.set(unit, (child = { children: new Map(), token: undefined }))
        node = child
      }
      if (node.token !== undefined) {
        throw unsupported(
          `the added tokens ${describe(node.token.content)} and ${describe(token.content)} are the same text once normalized`,
        )
      }
      node.token = token
    }
  }

  /**
   * A stage that passes the text between tokens to the next stage, piece by piece, and the tokens to `take`.
   * @param allowSpecial whether special tokens are recognised; otherwise they are plain text
   */
  stage(take: (id: number) => void, allowSpecial: boolean, isFirstStage: boolean): Stage {
    if (this.tokens.length === 0) return (next, context) => (isFirstStage ? new WholeText(next, context) : next)
    return (next, context) => new AddedTokenStage(this, next, context, take, allowSpecial)
  }

  get keepsSpace(): boolean {
    return this.stripsLeft
  }

  /** Whether a token may begin with a code unit. */
  beginsWith(unit: number): boolean {
    return this.root.children.has(unit)
  }

  /**
   * The longest token that begins at a position.
   * @returns 'more' if the text ends before that can be decided
   */
  longestAt(text: string, start: number, isWhole: boolean, budget: StepBudget): { token: AddedToken; end: number } | 'more' | undefined {
    let node = this.root
    let found: { token: AddedToken; end: number } | undefined
    let at = start
    for (; ; at++) {
      if (node.token !== undefined) found = { token: node.token, end: at }
      if (at === text.length) {
        if (!isWhole && node.children.size > 0) return 'more'
        break
      }
      const child = node.children.get(text.charCodeAt(at))
      if (child === undefined) break
      node = child
    }
    budget.spend(at - start, 'added_tokens')
    return found
  }
}

/** Only the first piece begins at the start of the text. */
class WholeText implements TextSink {
  constructor(
    private readonly next: TextSink,
    private readonly context: EncodingContext,
  ) {}

  push(text: string, isEnd: boolean): void {
    this.next.push(text, isEnd)
    if (isEnd) this.context.isAtStart = false
  }
}

class AddedTokenStage implements TextSink {
  private buffer = ''
  /** Where the search continues; what precedes it has not been emitted yet. */
  private from = 0
  private given = 0
  private isPieceOpen = false
  /** A search that reached the end of the text waits until there is twice as much. */
  private enough = 0

  constructor(
    private readonly finder: AddedTokenFinder,
    private readonly next: TextSink,
    private readonly context: EncodingContext,
    private readonly take: (id: number) => void,
    private readonly allowSpecial: boolean,
  ) {}

  push(text: string, isEnd: boolean): void {
    this.buffer = this.buffer === '' ? text : this.buffer + text
    if (!isEnd && this.buffer.length < this.enough) return
    const certain = this.search(isEnd)
    if (isEnd) {
      this.give(this.buffer.length)
      this.endPiece()
      this.buffer = ''
      this.from = this.given = this.enough = 0
    } else this.wait(certain)
  }

  /** @returns the position before which all tokens have been found */
  private search(isWhole: boolean): number {
    const { buffer, finder, context } = this
    for (; this.from < buffer.length;) {
      if (!finder.beginsWith(buffer.charCodeAt(this.from))) {
        this.from++
        continue
      }
      const found = finder.longestAt(buffer, this.from, isWhole, context.budget)
      if (found === 'more') return this.from
      if (found === undefined) {
        this.from++
        continue
      }
      const { token, end } = found
      // The following characters decide.
      if (end === buffer.length && !isWhole && (token.isSingleWord || token.stripsRight)) return this.from
      const stop = token.stripsRight ? spaceEnd(buffer, end) : end
      if (stop === buffer.length && !isWhole && token.stripsRight) return this.from
      if (!(token.isSpecial && !this.allowSpecial) && !(token.isSingleWord && this.isInWord(this.from, end))) {
        const start = token.stripsLeft ? Math.max(spaceStart(buffer, this.from), this.given) : this.from
        this.give(start)
        this.endPiece()
        // A token within space stripped by the preceding token is dropped.
        if (start < stop) this.take(token.id)
        this.given = Math.max(stop, this.given)
        this.context.isAtStart = false
      }
      this.from = end
    }
    return buffer.length
  }

  private isInWord(start: number, end: number): boolean {
    const { buffer } = this
    const before = codePointBefore(buffer, start)
    return (before !== undefined && wordCharacters().has(before)) || (end < buffer.length && wordCharacters().has(buffer.codePointAt(end)!))
  }

  /** Emits what belongs to no token; keeps what a token may still strip, and the character before it. */
  private wait(certain: number): void {
    const held = this.finder.keepsSpace ? Math.max(spaceStart(this.buffer, certain), Math.min(this.given, certain)) : certain
    this.give(held)
    checkHeld(this.buffer.length - held, this.context)
    let keep = Math.min(held, this.given)
    const before = codePointBefore(this.buffer, keep)
    if (before !== undefined) keep -= before > 0xffff ? 2 : 1
    const undecided = this.buffer.length - certain
    this.buffer = this.buffer.slice(keep)
    this.given -= keep
    this.from -= keep
    this.enough = this.buffer.length + undecided
  }

  private give(end: number): void {
    if (end <= this.given) return
    this.next.push(this.buffer.slice(this.given, end), false)
    this.isPieceOpen = true
    this.given = end
  }

  private endPiece(): void {
    if (!this.isPieceOpen) return
    this.isPieceOpen = false
    this.next.push('', true)
    this.context.isAtStart = false
  }
}

function spaceStart(text: string, end: number): number {
  let start = end
  while (start > 0 && whitespace().has(text.charCodeAt(start - 1))) start--
  return start
}

function spaceEnd(text: string, start: number): number {
  let end = start
  while (end < text.length && whitespace().has(text.charCodeAt(end))) end++
  return end
}
