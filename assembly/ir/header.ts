/*
 * The dispatch header: words that the host writes for each dispatch of a program. Like all of this folder, it is read
 * by both compilers.
 */

/**
 * Words of the dispatch header: what changes from one dispatch of a program to the next. The base addresses of the
 * buffers follow at `Buffers`.
 */
export enum DispatchHeader {
  /** Tokens in this chunk. */
  Rows,
  /** Index of the first token within its routed window. */
  WindowOffset,
  /** 1 in windows 1, 2, …, whose tokens are routed; 0 in window 0. */
  Routed,
  /** 1 when the sequence has more than one window and `averageRouted` is on. */
  Average,
  /** Number of key/values in this window's context, without the null key/value. */
  ContextCount,
  /** Index of the chunk's window, or of its first one. */
  Window,
  /** Index of the first token's key in the local buffer, after the drop: the number of keys kept before it. */
  LocalIndex,
  /** Keys dropped from the front of the local buffer before the chunk, a multiple of 8. */
  LocalDrop,
  /** First of the requested rows that the model's head turns into logits, and how many. */
  HeadFirst,
  HeadRows,
  /** Absolute position of the first token, an f64 (two words, 8-byte aligned). */
  Position = 10,
  /** Absolute position of the first token of the window that the chunk closes, an f64. */
  ClosingPosition = 12,
  /**
   * Rows of the window that the chunk closes: of the one before it, if it is the first chunk of a window; otherwise 0
   * (causal layers only).
   */
  ClosingRows = 14,
  /** Tokens in the whole sequence (full-sequence layers). */
  SequenceRows = 15,
  /** 1 when this is the first chunk of its window. */
  WindowStart = 16,
  /** Rows of logits for which targets' log-probabilities are requested. */
  TargetRows = 17,
  /** Index of the first token in the whole sequence (full-sequence layers). */
  FirstRow = 18,
  /**
   * Windows in the chunk; 0 counts as 1. A chunk of several contains whole windows, except for the sequence's last.
   */
  Windows = 19,
  /** The `TileShape` of products of many rows. */
  TileShape = 20,
  /** Number of leading rows that belong to window 0, if `Routed` is 1 for the rest. */
  Unrouted = 21,
  /** Address of the preceding dispatch's header if that may still be running, otherwise 0. */
  DependsOn = 22,
  /** Number of serialized sections that this dispatch has left; its successor waits for it. */
  SectionsLeft = 23,
  /** The requested rows of the chunk (first, count): a model's last block computes no others. */
  RequestedFirst = 24,
  RequestedRows = 25,
  /** Address of a word that becomes nonzero when the dispatch is cancelled; 0 if it cannot be. */
  Stop = 26,
  /** Row of the ring of recent inputs for the chunk's first token, and for the first one of the window that it closes. */
  InputRow = 27,
  ClosingInputRow = 28,
  /** The `IntegerDot` of int8 products of several rows, and of those of a single row. */
  TileDot = 29,
  RowDot = 30,
  /** Number of key/values in the context of the window that the chunk closes, without the null key/value. */
  ClosingContextCount = 31,
  /** Base addresses, one word for each `BufferIndex`. */
  Buffers = 32,
  /** Even, so that positions are aligned in an array of headers. */
  Length = 48,
}

/** The buffer that an operand is in. Only the device knows its address. */
export enum BufferIndex {
  None,
  DispatchHeader,
  Weights,
  Scratch,
  State,
  Input,
  Output,
  /** What a full-sequence layer keeps for one call: router scores, selections. */
  Call,
  /** Projected keys and values of selected tokens, one row each. */
  KeyValues,
  Angles,
  /** Positions of the tokens to project. */
  SelectedPositions,
  /** Copy of a layer's local output, if requested. */
  LocalOutput,
  /** Contexts gathered for the windows of one chunk. */
  Contexts,
  /** The token ids of a model's chunk. */
  TokenIds,
  /** `WORKSPACE_BYTES` for each partition; used by devices, never by plans. */
  Workspace,
  /**
   * A header for each sequence, where a dispatch has one token of each of several: row i is the next token of sequence
   * i. Their `Rows` is 1, and they differ in positions and `State`. Only for CPU devices.
   */
  Sequences,
  Length,
}
