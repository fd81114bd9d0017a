/*
 * The op vocabulary: what a program is made of. Plain TypeScript without imports, read by both compilers:
 * `src/plan` writes these words, `assembly/` reads them, so neither can drift from the other.
 *
 * A program is a sequence of 32-bit words: op after op, each beginning with its opcode and its length in words; the
 * opcode `End` closes it. `Limit` names the word of the dispatch header that the op's rows do not exceed, for a device
 * that must plan for them before it can see their count. An operand is two words, a buffer (an index into the dispatch
 * header's table of base addresses) and an offset in bytes; the word named here is the first of the two. Operand (0, 0)
 * is "none": base address 0 of that table is 0. Everything else is one word, an i32 or the bits of an f32.
 *
 * Layouts. A row-major matrix has rows of `stride` floats, a multiple of 8; columns beyond the real ones hold zeros.
 * "Panels" pack a matrix of K rows and N columns so that eight neighbouring outputs lie across the lanes of two
 * vectors, at every k: [N / 8][K][8] for what an op writes. Packed weights join up to four panels to a group, [K][8 ·
 * panels], one group after the other.
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
  /** Base addresses, one word for each `BufferIndex`. */
  Buffers = 27,
  Length = 42,
}

/** What a device's own copy of a program says beside an op's opcode, and the bits that leave the opcode. */
export const OPCODE_MASK = 0xffff
/**
 * Threads need not meet behind the op: what follows touches nothing that other partitions of it wrote or still read.
 */
export const SKIPS_BARRIER = 0x10000
/**
 * Start of a serialized section, which lasts to the next op with `ENDS_SERIALIZED`: a dispatch waits here until its
 * predecessor has left the section.
 */
export const BEGINS_SERIALIZED = 0x20000
export const ENDS_SERIALIZED = 0x40000

/**
 * How products of four rows or more are cut into tiles (`assembly/kernels/tile-shapes.ts`): all give the same bits, and
 * each is the fastest somewhere. Engines before V8 13 want k one at a time, later ones and Deno four at a time; engines
 * that check every bound (Deno) or have more registers to spare (Bun) do best with few rows of many columns; `Gemm6x16`
 * needs an engine that joins pairs of vector operations to 256-bit ones.
 */
export enum TileShape {
  /** 6 rows (5 unfused) × 8 columns. */
  Gemm6x8,
  Gemm6x8Unrolled,
  /** 2 × 24. */
  Gemm2x24,
  Gemm2x24Unrolled,
  /** 6 (5) × 16, unrolled. */
  Gemm6x16,
  Length,
}

/** How weights lie in memory. Float16 holds no infinity and no NaN. */
export enum WeightFormat {
  Float32,
  Float16,
  Bfloat16,
}

/** Words that tell how far a program has come that is run part by part. */
export enum ResumePoint {
  /** Address of the op that comes next. */
  Op,
  /** Which of its parts comes next, of how many; 0 of 0 before its first. */
  Part,
  Parts,
  Length,
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
  /** What a layer that sees the whole sequence keeps for one call: similarities, selections. */
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

/** Rows of the tallest tile of any build; scores are planned for as many. */
export const MOST_TILE_ROWS = 6

/** Bytes of the histogram that selection counts in, before its candidates. */
export const HISTOGRAM_BYTES = 1024

/**
 * What a partition may need beside its operands: a block of a group of weights (256 rows of 32 columns) widened to
 * float32.
 */
export const WORKSPACE_BYTES = 32768

export enum Opcode {
  End,
  Embed,
  RotaryFromPositions,
  RotaryFromAngles,
  Normalise,
  Matmul,
  Rotate,
  LocalStore,
  Attention,
  Similarities,
  CopyRows,
  RouteCausal,
  ListQueries,
  Combine,
  SelectContext,
  UpdateContext,
  NullContext,
  SelectQueries,
  SelectKeyValues,
  AssignSlots,
  GatherContext,
  LogProbabilities,
  Length,
}

/** Token embeddings (and learned positions) to rows. */
export enum Embed {
  Rows = 2,
  TokenIds = 4,
  Tokens = 6,
  Positions = 8,
  Output = 10,
  Stride = 12,
  TokensFormat = 13,
  PositionsFormat = 14,
  Length = 15,
}

/**
 * cos and sin of every pair's angle: row i of the table is [cos: width][sin: width], for position `Position`[0] (an
 * f64) + i, or `Indices`[i]. The angle of columns j and j + width / 2 is position · `Frequencies`[j] (f64).
 */
export enum RotaryFromPositions {
  Rows = 2,
  Position = 4,
  Indices = 6,
  Frequencies = 8,
  Output = 10,
  Width = 12,
  Length = 13,
}

/** The same from given angles (float32, row-major, `Width` wide): of row `Position`[0] + i, or `Indices`[i]. */
export enum RotaryFromAngles {
  Rows = 2,
  Position = 4,
  Indices = 6,
  Angles = 8,
  Output = 10,
  Width = 12,
  Length = 13,
}

export enum Norm {
  /** Rows are only copied. */
  None,
  /** LayerNorm, eps 1e-5. */
  Layer,
  /** x / max(‖x‖, 1e-12) · √d · gamma. */
  RootMeanSquare,
}

/** Output row i is the norm of input row `First`[0] + (`Indices`[i] or i). */
export enum Normalise {
  Rows = 2,
  First = 4,
  Indices = 6,
  Input = 8,
  Output = 10,
  Weight = 12,
  Bias = 14,
  Kind = 16,
  Width = 17,
  Stride = 18,
  Limit = 19,
  Length = 20,
}

export enum Activation {
  None,
  /** Exact GELU: x · Φ(x). */
  Gelu,
}

/**
 * Output (rows, 8 · Panels) = activation(Input (rows, Depth) · Weights + Bias). With `AddTo` (of the output's stride)
 * the result is added to its rows instead, and the output is only working memory. Weights of 16 bits are widened,
 * exactly: in registers, or block by block in the device's workspace.
 */
export enum Matmul {
  Rows = 2,
  Input = 4,
  Weights = 6,
  Output = 8,
  Bias = 10,
  AddTo = 12,
  InputStride = 14,
  OutputStride = 15,
  Depth = 16,
  Panels = 17,
  Activation = 18,
  Format = 19,
  /**
   * Parts of the outputs, each shared out on its own: what one partition makes of queries, keys and values then belongs
   * to the same heads.
   */
  Parts = 20,
  Limit = 21,
  Length = 22,
}

/**
 * Rotates the heads of each row in place: by table row i, or `Indices`[i]. Heads are shared out, as in the product
 * before and the attention behind.
 */
export enum Rotate {
  Rows = 2,
  Values = 4,
  Table = 6,
  Indices = 8,
  Stride = 10,
  Heads = 11,
  HeadWidth = 12,
  HeadStride = 13,
  /** Floats from one head's angles to the next one's in a row of the table: 0 when the heads share them. */
  AngleStride = 14,
  /** Floats in cos, and in sin, of a row of the table. */
  TableWidth = 15,
  Limit = 16,
  Length = 17,
}

/**
 * Local keys and values of a chunk: rotates the queries of `Projected` (rows of [q | k | v], each Heads · HeadStride)
 * in place, and the keys on their way to `Keys` [head][key / 8][HeadStride][8]; values go to `Values` [head][HeadStride
 * / 8][Capacity][8]. First drops what the chunk header says from the front of both.
 */
export enum LocalStore {
  Projected = 2,
  Table = 4,
  Keys = 6,
  Values = 8,
  Stride = 10,
  Heads = 11,
  HeadWidth = 12,
  HeadStride = 13,
  Capacity = 14,
  Length = 15,
}

/**
 * Row i of each head attends to keys `End`[0] + 1 + i · `Advance` - `Window` up to `End`[0] + i · `Advance`, from key 0
 * on. Local attention: `End` is the first row's own key, `Advance` 1. Routed attention, over the null key/value and the
 * context in rank order: `End` is the context's last, `Advance` 0. With `First` output row i is that of row `First`[0]
 * + i. With `Starts` the rows come in groups, one for each window of the chunk: rows `Starts`[z] … `Starts`[z + 1] - 1
 * attend to keys and values `GroupStride` floats further for each z, up to `End`[z].
 */
export enum Attention {
  Rows = 2,
  Queries = 4,
  Keys = 6,
  Values = 8,
  Output = 10,
  Scores = 12,
  End = 14,
  QueryStride = 16,
  OutputStride = 17,
  Heads = 18,
  HeadWidth = 19,
  HeadStride = 20,
  Capacity = 21,
  /** Keys that a row sees, its last one included, at most. */
  Window = 22,
  Advance = 23,
  /** Floats in one row of scores. */
  ScoreStride = 24,
  /** f32: what scores are multiplied by. */
  Scale = 25,
  Starts = 26,
  GroupStride = 28,
  /** Most rows of a group. */
  GroupRows = 29,
  First = 30,
  Length = 32,
}

/**
 * From raw products (rows of `ProductStride`: query similarities of all experts, then key/value similarities) to
 * similarities by expert: [expert][Capacity], written at `First`[0] + i. With `Cosine`, times `Scale` / max(‖x‖,
 * 1e-12); the routing tokens were normalised when packed.
 */
export enum Similarities {
  Rows = 2,
  First = 4,
  Input = 6,
  Products = 8,
  Queries = 10,
  KeyValues = 12,
  Stride = 14,
  Width = 15,
  ProductStride = 16,
  Experts = 17,
  Capacity = 18,
  Cosine = 19,
  Scale = 20,
  Length = 21,
}

/** Rows of `Input` to rows `First`[0] + i of `Output`. */
export enum CopyRows {
  Rows = 2,
  First = 4,
  Input = 6,
  Output = 8,
  Stride = 10,
  Length = 11,
}

/**
 * Which of the chunk's `Rows`[0] rows from `First`[0] on are queries, decided without looking ahead: those with fewer
 * than `Count` earlier tokens of the window at or above them. Lists are [expert][RowCapacity]; `Slots`[expert][row] is
 * the row's place in its list, or -1; `Counts`[expert].
 */
export enum RouteCausal {
  Rows = 2,
  First = 4,
  Similarities = 6,
  Lists = 8,
  Slots = 10,
  Counts = 12,
  Experts = 14,
  Count = 15,
  Capacity = 16,
  RowCapacity = 17,
  Length = 18,
}

/**
 * The same lists from decisions already made for the whole sequence: `Taken` and `Scores` are [expert][Capacity] by
 * position. Where `Starts` is given, `Starts`[expert][StartCapacity] tells for each window of the chunk the first place
 * in the list of its rows, and behind the last where the list ends; `Ends`[z] the key/values of the chunk's window z,
 * at most `KeyValues`.
 */
export enum ListQueries {
  Rows = 2,
  First = 4,
  Taken = 6,
  Scores = 8,
  Lists = 10,
  Slots = 12,
  Counts = 14,
  ListScores = 16,
  Experts = 18,
  Capacity = 19,
  RowCapacity = 20,
  Starts = 21,
  Ends = 23,
  StartCapacity = 25,
  WindowSize = 26,
  KeyValues = 27,
  Length = 28,
}

/**
 * Local output plus the experts' outputs or null tokens, in expert order; averaged if the chunk says so; plus
 * `Residual`. Rows of `Local` and `Output` are those of the chunk from `First`[0] on; of `Slots` and `Residual`, the
 * chunk's own.
 */
export enum Combine {
  Rows = 2,
  First = 4,
  Local = 6,
  Routed = 8,
  Slots = 10,
  ListScores = 12,
  NullTokens = 14,
  Residual = 16,
  Output = 18,
  Stride = 20,
  Experts = 21,
  RowCapacity = 22,
  Length = 23,
}

/**
 * A window closes: its tokens compete with the context for its places, by similarity, ties to the earlier. The
 * context's `ContextSimilarities` and `ContextPositions` ([expert][ContextCapacity]) become the new ones; `Retained`
 * lists the old ranks that stay, `Admitted` the window's tokens that enter, both ascending, `RetainedCounts` and
 * `AdmittedCounts` how many.
 */
export enum SelectContext {
  Similarities = 2,
  ContextSimilarities = 4,
  ContextPositions = 6,
  Retained = 8,
  RetainedCounts = 10,
  Admitted = 12,
  AdmittedCounts = 14,
  Candidates = 16,
  Experts = 18,
  /** Places of the context. */
  Count = 19,
  ContextCapacity = 20,
  /** Tokens in a window: row length of similarities and admitted tokens. */
  Window = 21,
  /** Bytes of working memory at `Candidates` for each expert. */
  WorkBytes = 22,
  Length = 23,
}

/** Moves kept key/values to their new ranks and appends the admitted tokens' (`Projected`: rows of [k | v]). */
export enum UpdateContext {
  Retained = 2,
  RetainedCount = 4,
  AdmittedCount = 6,
  Projected = 8,
  Keys = 10,
  Values = 12,
  Heads = 14,
  HeadStride = 15,
  Capacity = 16,
  Length = 17,
}

/**
 * The null key and value of one expert become rank 0 of its context. `Null` is [key: Heads · HeadStride][value:
 * likewise].
 */
export enum NullContext {
  Null = 2,
  Keys = 4,
  Values = 6,
  Heads = 8,
  HeadStride = 9,
  Capacity = 10,
  Length = 11,
}

export enum Selection {
  CoordinateDescent,
  TopK,
}

/** Words shared by the two selections over rows of similarities ([expert][Capacity] by position). */
export enum Descent {
  /** f64s (two words each): fetch_k_ratio, eps, eps_init, eps_decay. */
  FetchRatio = 0,
  Eps = 2,
  EpsInit = 4,
  EpsDecay = 6,
  Iterations = 8,
  /** 1 when carried scores are all 1. */
  StraightThrough = 9,
  Selection = 10,
  Length = 11,
}

/**
 * Which tokens of each window are queries: `Taken` 0 / 1, and their scores. `Work` has `WorkBytes` for each partition.
 */
export enum SelectQueries {
  Similarities = 2,
  Taken = 4,
  Scores = 6,
  Work = 8,
  Experts = 10,
  Count = 11,
  WindowSize = 12,
  Capacity = 13,
  WorkBytes = 14,
  Descent = 15,
  Length = 26,
}

/**
 * Which earlier tokens are key/values of each window, min(Count, window · WindowSize) of them: ascending positions in
 * `Lists` [window - 1][expert][ListCapacity], their scores in `Scores` likewise, and a mark in `Chosen`
 * [expert][Capacity]. Windows come in ascending order. `Work` has `WorkBytes` for each partition.
 */
export enum SelectKeyValues {
  Similarities = 2,
  Lists = 4,
  Scores = 6,
  Chosen = 8,
  Work = 10,
  Experts = 12,
  Count = 13,
  WindowSize = 14,
  Capacity = 15,
  ListCapacity = 16,
  WorkBytes = 17,
  Descent = 18,
  Length = 29,
}

/**
 * Numbers the chosen tokens, expert by expert: `Chosen` becomes slots (-1: not chosen), `Positions` lists them,
 * `Counts` says how many each has. Numbers run on from one expert to the next, or with `Stride` begin at its multiples.
 */
export enum AssignSlots {
  Chosen = 2,
  Positions = 4,
  Counts = 6,
  Experts = 8,
  Capacity = 9,
  Stride = 10,
  Length = 11,
}

/**
 * When a window opens: packs its context for one expert behind the null key/value; values times their scores. Where a
 * chunk has several windows, z's context of `Ends`[z] key/values lies z · `GroupStride` floats behind the first;
 * without `Ends` the dispatch header tells how many there are.
 */
export enum GatherContext {
  Lists = 2,
  Scores = 4,
  Slots = 6,
  KeyValues = 8,
  Null = 10,
  Keys = 12,
  Values = 14,
  Expert = 16,
  Experts = 17,
  ListCapacity = 18,
  SequenceCapacity = 19,
  Heads = 20,
  HeadStride = 21,
  Capacity = 22,
  Ends = 23,
  GroupStride = 25,
  Length = 26,
}

/** ln of the probability that row i of the logits gives to `Targets`[i], an f64. */
export enum LogProbabilities {
  Rows = 2,
  Logits = 4,
  Targets = 6,
  Output = 8,
  Stride = 10,
  Width = 11,
  Length = 12,
}
