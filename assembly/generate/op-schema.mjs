/*
 * The single definition of every op: what it does, the file of its kernel, and its words in order. `ops.mjs` generates
 * from it the enums that both compilers read, the types of the fields a program is written from, the table of kernels,
 * and what devices need to know about operands.
 *
 * Descriptions refer to an op's own words by their names here, in backticks.
 */

const operand = (access) => (doc) => ({ kind: 'operand', access, doc })
/** Input. */
const read = operand('read')
/** Output; its previous contents do not matter. */
const written = operand('written')
/** Output that depends on its previous contents. */
const updated = operand('updated')
/** Input whose contents are undefined afterwards: a kernel may compute in place. */
const consumed = operand('consumed')
/** Working memory. */
const scratch = operand('scratch')
/** May be omitted: an operand is then none, a number 0. */
const optional = (field) => ({ ...field, optional: true })

const i32 = (doc) => ({ kind: 'i32', type: 'number', doc })
const f32 = (doc) => ({ kind: 'f32', type: 'number', doc })
/** Two words; shaders see only the first, which holds the value as an f32. */
const f64 = (doc) => ({ kind: 'f64', type: 'number', doc })
/** 1 or 0. */
const flag = (doc) => ({ kind: 'i32', type: 'boolean', doc })
/** A value of an enum of `assembly/ir/values.ts`. */
const oneOf = (type, doc) => ({ kind: 'i32', type, values: true, doc })
/** The header word that bounds `rows`, for counts that the host cannot see; listed in `LIMITS`. */
const limit = { kind: 'i32', type: 'DispatchHeader', optional: true, limit: true }
/** Words shared by several ops, defined in `sharedFields`. */
const shared = (name) => ({ kind: 'shared', name })

/** Files of `assembly/kernels`, in the compiler's order: another order would only move functions in the builds. */
export const kernelFiles = [
  'selection',
  'elementwise',
  'context',
  'routing',
  'local-store',
  'attention',
  'attention-weights',
  'norms',
  'matmul',
  'quantize-rows',
  'quantized-matmul',
  'rotary',
]

export const sharedFields = {
  Descent: {
    doc: 'Words shared by the two selections over rows of router scores ([expert][Capacity] by position).',
    fields: {
      fetchRatio: f64('fetch_k_ratio, eps, eps_init, eps_decay of SPEC section 4.'),
      eps: f64(),
      epsInit: f64(),
      epsDecay: f64(),
      iterations: i32(),
      straightThrough: flag('Whether carried scores are all 1.'),
      selection: oneOf('SelectionAlgorithm'),
    },
  },
}

export const ops = {
  Embed: {
    doc: 'Looks up token embeddings and, if there are any, adds position embeddings.',
    kernels: 'elementwise',
    fields: {
      rows: read(),
      tokenIds: read(),
      tokens: read(),
      tokenScales: optional(read('Of each token: a float32, for int8.')),
      positions: optional(read()),
      output: written(),
      stride: i32(),
      tokensFormat: oneOf('WeightFormat'),
      positionsFormat: optional(oneOf('WeightFormat')),
    },
  },
  RotaryFromPositions: {
    doc: `cos and sin of every pair's angle: row i of the table is [cos: width][sin: width], for position
      \`position\`[0] (an f64) + i, or \`indices\`[i], or \`positions\`[\`first\`[0] + i] (64-bit integers). The
      angle of columns j and j + width / 2 is position · \`frequencies\`[j] (f64).`,
    kernels: 'rotary',
    fields: {
      rows: read(),
      position: read(),
      indices: optional(read()),
      positions: optional(read()),
      first: optional(read()),
      frequencies: read(),
      output: written(),
      width: i32(),
    },
  },
  RotaryFromAngles: {
    doc: `The same from given angles (float32, row-major, \`width\` wide): of row \`position\`[0] + i, or
      \`indices\`[i].`,
    kernels: 'rotary',
    fields: { rows: read(), position: read(), indices: optional(read()), angles: read(), output: written(), width: i32() },
  },
  Normalise: {
    doc: `Output row i is the norm of input row \`first\`[0] + (\`indices\`[i] or i). If the input is a ring of \`ring\`
      rows, row 0 follows the last one: once at most.`,
    kernels: 'norms',
    fields: {
      rows: read(),
      first: optional(read()),
      indices: optional(read()),
      input: read(),
      output: written(),
      weight: optional(read('None with `Norm.None` only.')),
      bias: optional(read()),
      kind: oneOf('Norm'),
      width: i32(),
      stride: i32(),
      ring: optional(i32('Rows of the ring; 0: none.')),
      limit,
    },
  },
  Matmul: {
    doc: `\`output\` (rows, 8 · \`panels\`) = activation(\`input\` (rows, \`depth\`) · \`weights\` + \`bias\`). With
      \`addTo\` (of the output's stride) the result is added to its rows instead, and the output is only working memory.
      Weights of 16 bits are widened, exactly: in registers, or block by block in the device's workspace.`,
    kernels: 'matmul',
    fields: {
      rows: read(),
      input: read(),
      weights: read(),
      output: written(),
      bias: optional(read()),
      addTo: optional(updated()),
      inputStride: i32(),
      outputStride: i32(),
      depth: i32(),
      panels: i32(),
      activation: oneOf('Activation'),
      format: oneOf('WeightFormat'),
      projections: optional(
        i32(`Projections side by side in the outputs (3 for queries, keys and values), each partitioned on its own: what
          one partition makes of them then belongs to the same heads. 0 counts as 1.`),
      ),
      limit,
    },
  },
  QuantizeRows: {
    doc: `Rows of \`input\` (\`inputStride\` floats apart) to integers of \`bits\`, 7 or 14, for
      \`QuantizedMatmul\`: of each row the largest magnitude, 63 or 8191, times the row's scale is the row's largest;
      rounded to nearest, ties to even. A row of zeros has scale 0; one that is not finite has scale NaN. How a row's
      \`stride\` bytes are used depends on the dispatch header's \`IntegerDot\`s
      (\`assembly/kernels/integer-rows.ts\`).`,
    kernels: 'quantize-rows',
    fields: {
      rows: read(),
      input: read(),
      output: written(),
      scales: written(),
      inputStride: i32(),
      depth: i32(),
      stride: i32(),
      bits: i32(),
      limit,
    },
  },
  QuantizedMatmul: {
    doc: `The product of rows that \`QuantizeRows\` wrote, and int8 \`weights\`: sums of integers, exact, then
      (float32(sum) · the weights' scale) · the row's scale, and as in \`Matmul\` bias, activation and addition, each
      rounded. \`weights\` has groups of up to four panels, [depth / 4][8 · panels][4]; \`weightScales\` is a float32
      for each output, then each one's sum of weights (an i32).`,
    kernels: 'quantized-matmul',
    fields: {
      rows: read(),
      input: read(),
      inputScales: read(),
      weights: read(),
      weightScales: read(),
      output: written(),
      bias: optional(read()),
      addTo: optional(updated()),
      inputStride: i32('Bytes.'),
      outputStride: i32(),
      depth: i32(),
      panels: i32(),
      activation: oneOf('Activation'),
      bits: i32(),
      projections: optional(i32('As in `Matmul`.')),
      limit,
    },
  },
  Rotate: {
    doc: `Rotates the heads of each row in place: by table row i, or \`indices\`[i]. Heads are partitioned as in the
      product before it and the attention after it.`,
    kernels: 'rotary',
    fields: {
      rows: read(),
      values: updated(),
      table: read(),
      indices: optional(read()),
      stride: i32(),
      heads: i32(),
      headWidth: i32(),
      headStride: i32(),
      angleStride: i32("Floats from one head's angles to the next one's in a row of the table: 0 when the heads share them."),
      tableWidth: i32('Floats in cos, and in sin, of a row of the table.'),
      limit,
    },
  },
  LocalStore: {
    doc: `Local keys and values of a chunk: rotates the queries of \`projected\` (rows of [q | k | v], each heads ·
      headStride) in place, and the keys on their way to \`keys\` [head][key / 8][headStride][8]; values go to
      \`values\` [head][headStride / 8][capacity][8]. First drops what the dispatch header says from the front of
      both.`,
    kernels: 'local-store',
    fields: {
      projected: updated(),
      table: read(),
      keys: updated(),
      values: updated(),
      stride: i32(),
      heads: i32(),
      headWidth: i32(),
      headStride: i32(),
      capacity: i32(),
    },
  },
  Attention: {
    doc: `Row i of each head attends to keys \`end\`[0] + 1 + i · \`advance\` - \`window\` up to \`end\`[0] + i ·
      \`advance\`, from key 0 on. Local attention: \`end\` is the first row's own key, \`advance\` 1. Routed attention,
      over the null key/value and the context in rank order: \`end\` is the context's last, \`advance\` 0. With
      \`first\` output row i is that of row \`first\`[0] + i. With \`starts\` the rows are those of several contexts,
      one for each window of the chunk: rows \`starts\`[z] … \`starts\`[z + 1] - 1 attend to keys and values \`contextStride\` floats
      further for each z, up to \`end\`[z].`,
    kernels: 'attention',
    fields: {
      rows: read(),
      queries: read(),
      keys: read(),
      values: read(),
      output: written(),
      scores: scratch(),
      end: read(),
      queryStride: i32(),
      outputStride: i32(),
      heads: i32(),
      headWidth: i32(),
      headStride: i32(),
      capacity: i32(),
      window: i32('Keys that a row sees, its last one included, at most.'),
      advance: i32(),
      scoreStride: i32('Floats in one row of scores.'),
      scale: f32('What scores are multiplied by.'),
      starts: optional(read()),
      contextStride: optional(i32()),
      contextRows: optional(i32('Most rows that attend to one context.')),
      first: optional(read()),
      indices: optional(read("Which of the chunk's rows row i of the queries is. Where these belong to several sequences, its sequence.")),
    },
  },
  AttentionWeights: {
    doc: `What \`Attention\` weights values by, for one row: softmax over keys \`end\`[0] + 1 - \`window\` up to \`end\`[0],
      from key 0 on. Of each head \`weights\` has a row of \`weightStride\` floats, whose first is that of the first
      key's panel: columns of keys that the row does not see are 0, up to the last key's panel.`,
    kernels: 'attention-weights',
    fields: {
      queries: read(),
      keys: read(),
      weights: written(),
      end: read(),
      heads: i32(),
      headWidth: i32(),
      headStride: i32(),
      capacity: i32(),
      window: i32('Keys that the row sees, at most.'),
      weightStride: i32('Floats from one head to the next.'),
      scale: f32('What scores are multiplied by.'),
    },
  },
  RouterScores: {
    doc: `From raw products (rows of \`productStride\`: those with all experts' query routing tokens, then with their
      key/value ones) to router scores by expert: [expert][capacity], written at \`first\`[0] + i. With \`cosine\`,
      times \`scale\` / max(‖x‖, 1e-12); the routing tokens were normalised when packed.`,
    kernels: 'routing',
    fields: {
      rows: read(),
      first: optional(read()),
      input: read(),
      products: read(),
      queries: written(),
      keyValues: written(),
      stride: i32(),
      width: i32(),
      productStride: i32(),
      experts: i32(),
      capacity: i32(),
      cosine: flag(),
      scale: f32(),
    },
  },
  CopyRows: {
    doc: 'Rows of `input` to rows `first`[0] + i of `output`, which may be a ring, as the input of `Normalise`.',
    kernels: 'elementwise',
    fields: { rows: read(), first: optional(read()), input: read(), output: written(), stride: i32(), ring: optional(i32()) },
  },
  RouteCausal: {
    doc: `Which of the chunk's \`rows\`[0] rows from \`first\`[0] on are queries, decided without looking ahead: those
      with fewer than \`count\` earlier tokens of the window at or above them. Lists are [expert][rowCapacity];
      \`slots\`[expert][row] is the row's place in its list, or -1; \`counts\`[expert].`,
    kernels: 'routing',
    fields: {
      rows: read(),
      first: optional(read()),
      routerScores: read(),
      lists: written(),
      slots: written(),
      counts: written(),
      experts: i32(),
      count: i32(),
      capacity: i32(),
      rowCapacity: i32(),
    },
  },
  ListQueries: {
    doc: `The same lists from decisions already made for the whole sequence: \`queryMask\` and \`scores\` are
      [expert][capacity] by position. Where \`starts\` is given, \`starts\`[expert][startCapacity] tells for each window
      of the chunk the first place in the list of its rows, and behind the last where the list ends; \`ends\`[z] the
      key/values of the chunk's window z, at most \`keyValues\`.`,
    kernels: 'routing',
    fields: {
      rows: read(),
      first: optional(read()),
      queryMask: read(),
      scores: read(),
      lists: written(),
      slots: written(),
      counts: written(),
      listScores: written(),
      experts: i32(),
      capacity: i32(),
      rowCapacity: i32(),
      starts: optional(written()),
      ends: optional(written()),
      startCapacity: optional(i32()),
      windowSize: optional(i32()),
      keyValues: optional(i32()),
    },
  },
  Combine: {
    doc: `Local output plus the experts' outputs or null tokens, in expert order; averaged if the dispatch header says
      so; plus \`residual\`. Rows of \`local\` and \`output\` are those of the chunk from \`first\`[0] on; of \`slots\`
      and \`residual\`, the chunk's own.`,
    kernels: 'elementwise',
    fields: {
      rows: read(),
      first: optional(read()),
      local: consumed(),
      routed: read(),
      slots: read(),
      listScores: optional(read()),
      nullTokens: optional(read('None where there are no experts.')),
      residual: optional(read()),
      output: written(),
      stride: i32(),
      experts: i32(),
      rowCapacity: i32(),
    },
  },
  SelectContext: {
    doc: `A window closes: its tokens compete with the context for its places, by router score, ties to the earlier. The
      context's \`contextRouterScores\` and \`contextPositions\` ([expert][contextCapacity], positions as 64-bit integers)
      become the new ones;
      \`retained\` lists the old ranks that stay, \`admitted\` the window's tokens that enter, both ascending,
      \`retainedCounts\` and \`admittedCounts\` how many.`,
    kernels: 'context',
    fields: {
      routerScores: read(),
      contextRouterScores: updated(),
      contextPositions: updated(),
      retained: written(),
      retainedCounts: written(),
      admitted: written(),
      admittedCounts: written(),
      candidates: scratch(),
      experts: i32(),
      count: i32('Places of the context.'),
      contextCapacity: i32(),
      window: i32('Tokens in a window: row length of router scores and admitted tokens.'),
      workBytes: i32('Bytes of working memory at `candidates` for each expert.'),
    },
  },
  UpdateContext: {
    doc: `Moves kept key/values to their new ranks and appends the admitted tokens' (\`projected\`: rows of [k | v]).
      Without \`retained\` the first \`retainedCount\`[0] stay where they are.`,
    kernels: 'context',
    fields: {
      retained: optional(read()),
      retainedCount: read(),
      admittedCount: read(),
      projected: read(),
      keys: updated(),
      values: updated(),
      heads: i32(),
      headStride: i32(),
      capacity: i32(),
    },
  },
  UpdateContextInputs: {
    doc: `The same for the rows that they are projected from: \`inputs\` has a row for each token of the context, by rank,
      without one for the null key/value; the admitted ones' are rows \`first\`[0] + \`admitted\`[i] of \`recent\`, a ring
      of \`ring\` rows.`,
    kernels: 'context',
    fields: {
      retained: read(),
      retainedCount: read(),
      admitted: read(),
      admittedCount: read(),
      first: read(),
      recent: read(),
      inputs: updated(),
      stride: i32(),
      ring: i32(),
    },
  },
  NullContext: {
    doc: `The null key and value of one expert become rank 0 of its context. \`null\` is [key: heads · headStride][value:
      likewise].`,
    kernels: 'context',
    fields: { null: read(), keys: written(), values: written(), heads: i32(), headStride: i32(), capacity: i32() },
  },
  SelectQueries: {
    doc: `Which tokens of each window are queries: \`queryMask\` 0 / 1, and their scores. \`work\` has \`workBytes\` for each
      partition.`,
    kernels: 'selection',
    fields: {
      routerScores: read(),
      queryMask: written(),
      scores: written(),
      work: scratch(),
      experts: i32(),
      count: i32(),
      windowSize: i32(),
      capacity: i32(),
      workBytes: i32(),
      descent: shared('Descent'),
    },
  },
  SelectKeyValues: {
    doc: `Which earlier tokens are key/values of each window, min(count, window · windowSize) of them: ascending
      positions in \`lists\` [window - 1][expert][listCapacity], their scores in \`scores\` likewise, and a mark in
      \`keyValueMask\` [expert][capacity]. Windows come in ascending order. \`work\` has \`workBytes\` for each partition.`,
    kernels: 'selection',
    fields: {
      routerScores: read(),
      lists: updated(),
      scores: written(),
      keyValueMask: updated(),
      work: scratch(),
      experts: i32(),
      count: i32(),
      windowSize: i32(),
      capacity: i32(),
      listCapacity: i32(),
      workBytes: i32(),
      descent: shared('Descent'),
    },
  },
  AssignSlots: {
    doc: `Numbers the chosen tokens, expert by expert: \`slots\` holds their mask, and becomes slots (-1: not chosen), \`positions\` lists
      them, \`counts\` says how many each has. Numbers run on from one expert to the next, or with \`stride\` begin at
      its multiples.`,
    kernels: 'selection',
    fields: { slots: updated(), positions: written(), counts: written(), experts: i32(), capacity: i32(), stride: optional(i32()) },
  },
  GatherContext: {
    doc: `When a window opens: packs its context for one expert after the null key/value; values times their scores.
      Where a chunk has several windows, z's context of \`ends\`[z] key/values lies z · \`contextStride\` floats after
      the first; without \`ends\` the dispatch header tells how many there are.`,
    kernels: 'context',
    fields: {
      lists: read(),
      scores: read(),
      slots: read(),
      keyValues: read(),
      null: read(),
      keys: written(),
      values: written(),
      expert: i32(),
      experts: i32(),
      listCapacity: i32(),
      sequenceCapacity: i32(),
      heads: i32(),
      headStride: i32(),
      capacity: i32(),
      ends: optional(read()),
      contextStride: optional(i32()),
    },
  },
  LogProbabilities: {
    doc: 'ln of the probability that row i of the logits gives to `targets`[i], an f64.',
    kernels: 'elementwise',
    fields: { rows: read(), logits: read(), targets: read(), output: written(), stride: i32(), width: i32() },
  },
}
