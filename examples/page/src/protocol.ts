/** What the page and its worker say to each other. All computing is in the worker; the page only draws. */

/** Where a model comes from: a folder's address, or the files that were dropped, and what their folder is called. */
export type Source = { readonly url: string } | { readonly files: readonly File[]; readonly name: string }

/** Tokens that are read in one call, and by models with the published routing in one piece. */
export const READ_AT_ONCE = 1024

/** Which of the two texts: the one that is being written, or the one that is being read. */
export type TextName = 'writing' | 'reading'

export interface SamplingSettings {
  readonly temperature: number
  /** 0: no limit. */
  readonly topK: number
  readonly topP: number
  readonly minP: number
  readonly repetitionPenalty: number
  readonly frequencyPenalty: number
  readonly presencePenalty: number
  readonly seed: number
  readonly maxTokens: number
}

/** The settings on which it depends how likely a token is drawn. */
export type DrawnBy = Omit<SamplingSettings, 'seed' | 'maxTokens'>

/** With which probability tokens are drawn; 0 for those that never are. */
export interface Drawn {
  /** Of each token that was asked for. */
  readonly probabilities: Float64Array
  /** Of all others together. */
  readonly others: number
}

/** One row of "what the browser offers". */
export interface Facility {
  readonly name: string
  readonly used: string
  /** Why there is no more; empty if there is nothing better. */
  readonly reason: string
}

export interface ModelFacts {
  readonly name: string
  readonly parameters: number
  readonly depth: number
  readonly heads: number
  readonly experts: number
  /** Of a window's tokens, so many at least read what an expert holds. */
  readonly queries: number
  /** Tokens that an expert holds at most. */
  readonly held: number
  /** Tokens that local attention sees before the current one. */
  readonly localWindow: number
  readonly routedWindow: number
  readonly routedLayers: readonly number[]
  readonly vocabulary: number
  readonly maxPositions: number | null
  readonly causal: boolean
  readonly quantized: boolean
  readonly facilities: readonly Facility[]
  readonly threads: number
}

/**
 * What a token adds to the text: characters; or bytes that are no whole characters, none if it cannot be told which; or
 * null, if it is a part of the character that the token before it shows.
 */
export type Piece = string | Uint8Array | null

/** Tokens of a text, in order; `bits` is NaN where nothing came before. */
export interface TokenBatch {
  /** Position of the first one. */
  readonly start: number
  readonly texts: readonly Piece[]
  readonly bits: Float32Array
}

export interface Choice {
  readonly id: number
  readonly text: string | Uint8Array
  readonly probability: number
}

/** What one expert of a layer did for a token. */
export interface ExpertLook {
  readonly isQuery: boolean
  /** Router scores of the token as a query and as a key and value. */
  readonly queryScore: number
  readonly keyScore: number
  /** Positions held, ascending. */
  readonly held: Int32Array
  /** Mean over heads of the weight of the null key, then of each held position; null if the token was no query. */
  readonly weights: Float32Array | null
  /** The same for each head, one after another. */
  readonly byHead: Float32Array | null
}

export interface LayerLook {
  readonly layer: number
  readonly localStart: number
  /** Mean over heads of the weights from `localStart` up to the token itself. */
  readonly local: Float32Array
  readonly localByHead: Float32Array
  /** Empty if the layer has local attention alone, or if nothing is routed yet. */
  readonly experts: readonly ExpertLook[]
}

/** Everything about one token. */
export interface Look {
  readonly text: TextName
  readonly position: number
  readonly bits: number
  /** What the model thought could stand here, the likeliest first; empty for a text's first token. */
  readonly choices: readonly Choice[]
  readonly chosen: Choice
  readonly layers: readonly LayerLook[]
  /** The texts of held positions and of the words in which they stand, which may be far from what is in the document. */
  readonly heldTexts: ReadonlyMap<number, Piece>
  /** Why there are no layers. */
  readonly unsupported: string
}

/** What the experts hold now, for the strip: one entry for each expert of each routed layer. */
export interface HeldNow {
  readonly length: number
  readonly layers: readonly { readonly layer: number; readonly held: readonly Int32Array[] }[]
  readonly stateBytes: number
}

export interface WritingRate {
  readonly tokens: number
  readonly seconds: number
}

export interface Chapter {
  readonly title: string
  readonly start: number
}

/** How far a reading is. */
export interface ReadingProgress {
  readonly tokens: number
  readonly bytesDone: number
  readonly bytesTotal: number
  readonly seconds: number
  /** Bits of all tokens so far. */
  readonly bits: number
  /** Mean bits of each 64 tokens that are new since the last progress. */
  readonly curve: Float32Array
  readonly chapters: readonly Chapter[]
}

/** What comes while the model writes; a look is at the newest token, if an expert took it as a query; one is sent at the end. */
export type WriteEvent = { tokens: TokenBatch } | { held: HeldNow } | { rate: WritingRate } | { look: Look }

export interface Calls {
  load: { params: { source: Source; bytes: boolean; threads: number | null }; result: ModelFacts; event: { done: number; total: number } }
  /** Begins a new text with a prompt, or goes on (`prompt: null`). Events are tokens, and what is held. */
  write: {
    params: { prompt: string | null; sampling: SamplingSettings }
    result: WritingRate
    event: WriteEvent
  }
  /** Cuts the text before a position, puts another token there, and goes on writing. */
  branch: {
    params: { position: number; id: number; sampling: SamplingSettings }
    result: WritingRate
    event: WriteEvent
  }
  look: { params: { text: TextName; position: number }; result: Look; event: never }
  /**
   * With which probability each of these tokens is drawn at a position of what is written, with these settings; computed
   * from the model's logits, which are kept for the token that was looked at last.
   */
  drawn: { params: { position: number; ids: readonly number[]; sampling: DrawnBy }; result: Drawn; event: never }
  /** What completes the text; empty if the model has nothing to add. */
  suggest: { params: { text: string; tokens: number }; result: { completion: string; milliseconds: number }; event: never }
  read: { params: { file: Blob | null }; result: ReadingProgress; event: ReadingProgress }
  tokens: { params: { text: TextName; start: number; end: number }; result: TokenBatch; event: never }
  held: { params: { text: TextName }; result: HeldNow; event: never }
}

export type CallName = keyof Calls

export type Request = { [Name in CallName]: { id: number; name: Name; params: Calls[Name]['params'] } }[CallName] | { cancel: number }

export type Reply =
  | { readonly id: number; readonly event: unknown }
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: { readonly code: string; readonly message: string; readonly aborted: boolean } }
