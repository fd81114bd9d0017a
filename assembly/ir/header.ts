/*
 * The dispatch header, the block of words beside a program that the host writes anew for each dispatch. Both compilers
 * read it, like all of this folder.
 */

/**
 * Words of the dispatch header: what changes from one dispatch of a program to the next. The base addresses of the
 * buffers follow at `Buffers`.
 */
export enum DispatchHeader {
  /** Tokens in this chunk. */
  Rows,
  /** Place of the first token in its routed window. */
  WindowOffset,
  /** 1 in windows 1, 2, …, whose tokens are routed; 0 in window 0. */
  Routed,
  /** 1 when the sequence has more than one window and `averageRouted` is on. */
  Average,
  /** Number of key/values that serve this window, the null key/value not counted. */
  ContextCount,
  /** Index of the chunk's window; where several are handled at once, of the first. */
  Window,
  /** Index of the first token's key in the local key buffer: as many are kept when it drops some. */
  LocalIndex,
  /** Keys of the local buffer that are dropped from its front before the chunk, a multiple of 8. */
  LocalDrop,
  /** First of the answered rows that the model's head turns into logits, and how many. */
  HeadFirst,
  HeadRows,
  /** Absolute position of the first token, an f64 (two words, 8-byte aligned). */
  Position = 10,
  /** Absolute position of the first token of the routed window, an f64. */
  WindowPosition = 12,
  /** Rows of the window when the chunk reaches its end, otherwise 0 (strictly causal layers only). */
  ClosingRows = 14,
  /** Tokens in the whole sequence (layers that see all of it). */
  SequenceRows = 15,
  /** 1 when this is the first chunk of its window. */
  WindowStart = 16,
  /** Rows of logits whose targets' probabilities are wanted. */
  TargetRows = 17,
  /** Index of the first token in the whole sequence (layers that see all of it). */
  FirstRow = 18,
  /**
   * Windows that are handled at once; 0 counts as 1. A chunk of several begins and ends with whole ones, the sequence's
   * last excepted.
   */
  Windows = 19,
  /** The `TileShape` that products of many rows are cut into. */
  TileShape = 20,
  /** Rows at the chunk's front that belong to window 0, when `Routed` is 1 for those behind them. */
  Unrouted = 21,
  /** Address of the header of the dispatch before this one, where that may still be at work; otherwise 0. */
  DependsOn = 22,
  /** Serialized sections that this dispatch has left: its successor waits for them. */
  SectionsLeft = 23,
  /** First row of the chunk whose output anyone asks for, and how many: all that the last layer of a model computes. */
  AnswerFirst = 24,
  AnswerRows = 25,
  /** Address of a word that is no longer 0 once nobody wants what the dispatch computes; 0 where there is none. */
  Stop = 26,
  /** Row of a layer's recent inputs for the chunk's first token, and for the first one of its routed window. */
  InputRow = 27,
  WindowInputRow = 28,
  /** Base addresses, one word for each `BufferIndex`. */
  Buffers = 29,
  Length = 44,
}

/** Which memory an operand lies in. Only the device knows where each begins. */
export enum BufferIndex {
  None,
  DispatchHeader,
  Weights,
  Scratch,
  State,
  Input,
  Output,
  /** What a layer that sees the whole sequence keeps for one call: router scores, selections. */
  Call,
  /** Projected keys and values of chosen tokens, one row each. */
  KeyValues,
  Angles,
  /** Positions that a block of key/values is projected from. */
  Chosen,
  /** Where a layer's local output is copied when it is asked for. */
  LocalOutput,
  /** Contexts that a chunk gathers for its windows alone. */
  Contexts,
  /** The tokens of a model's chunk. */
  TokenIds,
  /** `WORKSPACE_BYTES` for each partition, the device's own: no plan names it. */
  Workspace,
  Length,
}
