import { BufferIndex, DispatchHeader } from '../../../../../assembly/ir/header.js'
import { Attention, type Opcode } from '../../../../../assembly/ir/ops.js'
import type { Kernel, OpView } from '../../kernel.js'
import { EXP } from '../wgsl/math.js'

/*
 * A workgroup computes 16 rows of one head. Its 64 invocations are arranged 4 by 16: each computes four rows' scores,
 * for up to three times four keys, in registers, from queries and keys staged 16 channels at a time, and later four
 * rows by four channels of the output, from values staged 16 keys at a time. In between, scores and then weights are
 * kept in workgroup memory, a vector of four rows per key.
 * A query's bits do not depend on its neighbours: a score is one chain over channels; the maximum precedes the first
 * exponential; their sum is eight chains by key modulo 8 and one tree; an output is one chain over keys. Hidden keys
 * have weight +0, which leaves sums unchanged.
 */
const TILE_ROWS = 16
const LANES = 64
/** Channels of keys, or keys of values, staged at a time. */
const STAGED = 16
/** Output channels that a workgroup computes at a time: four for each of the 16 invocations across a row. */
const SLAB = 64
/** Vectors between the values of consecutive staged keys: a slab, plus two to spread them over the banks. */
const VALUE_STRIDE = SLAB / 4 + 2
/** Keys whose scores a workgroup holds, if invocations hold one, two or three times four. */
const BLOCKS = [64, 128, 176]

const lines = (count: number, line: (i: number) => string) => Array.from({ length: count }, (_, i) => line(i)).join('\n')

/**
 * @param spans number of groups of four keys per invocation
 * @param wide for any number of keys, block by block: scores are computed twice, for the maximum and for the weights,
 * and outputs accumulate in place
 */
function attentionKernel(spans: number, wide: boolean): Kernel<Opcode.Attention> {
  const block = BLOCKS[spans - 1]!
  const quads = block / 4
  // distance between four neighbouring keys, chosen so that neighbouring invocations access different banks
  const keyStride = Math.ceil((quads - 2) / 4) * 4 + 2
  const groupStride = 3 * keyStride + quads + 1
  const stagedQueries = STAGED * keyStride
  const stagedValues = 4 * groupStride
  const pool = Math.max(stagedQueries + TILE_ROWS * (STAGED / 4), stagedValues + STAGED * VALUE_STRIDE)
  const makeScores = `
    let panels = min(${block / 8}u, u32(end - block + 7) / 8u);
    make_scores(lane, tile_rows, queries, keys + u32(block) * head_stride, panels);`
  const forBlocks = (body: string) => (wide ? `for (var block = base; block < end; block += ${block}) {${body}}` : body)

  return {
    name: wide ? 'attention-wide' : `attention-${block}`,
    operands: {
      count: Attention.Rows,
      queries: Attention.Queries,
      keys: Attention.Keys,
      values: Attention.Values,
      output: Attention.Output,
      last: Attention.End,
      starts: Attention.Starts,
      skipped: Attention.First,
    },
    view: 'vectors',
    code: `
${EXP}
var<workgroup> pool: array<vec4f, ${pool}>;
/* first row, rows, last key of the first, rows of the queries before it */
var<workgroup> task: vec4i;

/* offset of the scores, then weights, of four rows for key t of the block */
fn place_of(four_rows: u32, t: u32) -> u32 { return four_rows * ${groupStride}u + (t % 4u) * ${keyStride}u + t / 4u; }

fn make_scores(lane: u32, rows: u32, queries: u32, keys: u32, panels: u32) {
  let width = u32(word(${Attention.HeadWidth}));
  let head_stride = u32(word(${Attention.HeadStride}));
  let query_channel = 4u * (lane % 4u);
  let query = queries + min(lane / 4u, rows - 1u) * u32(word(${Attention.QueryStride})) + query_channel;
  let key_channel = (lane % 32u) / 2u;
  let key = keys + key_channel * 8u + (lane % 2u) * 4u;
  let staged_key = key_channel * ${keyStride}u + lane % 2u;
  let four_rows = lane / 16u;
  let quad = lane % 16u;
  ${lines(4 * spans, (n) => `var s${n} = vec4f();`)}
  for (var channel = 0u; channel < width; channel += ${STAGED}u) {
    workgroupBarrier();
    if (channel + query_channel < head_stride) { pool[${stagedQueries}u + lane] = queries_v(query + channel); }
    if (channel + key_channel < head_stride) {
      for (var panel = lane / 32u; panel < panels; panel += 6u) {
        let a = keys_v(key + (panel * head_stride + channel) * 8u);
        let b = keys_v(key + (min(panel + 2u, panels - 1u) * head_stride + channel) * 8u);
        let c = keys_v(key + (min(panel + 4u, panels - 1u) * head_stride + channel) * 8u);
        pool[staged_key + 2u * panel] = a;
        if (panel + 2u < panels) { pool[staged_key + 2u * panel + 4u] = b; }
        if (panel + 4u < panels) { pool[staged_key + 2u * panel + 8u] = c; }
      }
    }
    workgroupBarrier();
    /* columns beyond the real ones hold zeros */
    let fours = min(${STAGED / 4}u, (width - channel + 3u) / 4u);
    for (var four = 0u; four < fours; four++) {
      ${lines(4, (row) => `let q${row} = pool[${stagedQueries + row * (STAGED / 4)}u + four_rows * ${STAGED}u + four];`)}
      let at = four * ${4 * keyStride}u + quad;
      ${lines(4, (c) => {
        const ofSpan = (span: number) => `{
        let k = pool[at + ${c * keyStride + 16 * span}u];
        ${lines(4, (i) => `s${4 * span + i} = fma(q, vec4f(k[${i}]), s${4 * span + i});`)}
      }`
        return `{ let q = vec4f(q0[${c}], q1[${c}], q2[${c}], q3[${c}]); ${lines(spans, ofSpan)} }`
      })}
    }
  }
  workgroupBarrier();
  let place = place_of(four_rows, 4u * quad);
  ${lines(spans, (span) => {
    const stores = lines(4, (i) => `pool[place + ${i * keyStride + 16 * span}u] = s${4 * span + i};`)
    return `if (quad + ${16 * span}u < 2u * panels) { ${stores} }`
  })}
  workgroupBarrier();
}

fn visible(key: i32, ends: vec4i) -> vec4<bool> {
  return (vec4i(key) < ends) & (vec4i(key) >= ends - word(${Attention.Window}));
}
fn weights_of(score: vec4f, largest: vec4f, seen: vec4<bool>) -> vec4f {
  let x = (score - largest) * float_word(${Attention.Scale});
  return select(vec4f(), vec4f(exp_of(x.x), exp_of(x.y), exp_of(x.z), exp_of(x.w)), seen);
}

@compute @workgroup_size(${LANES}) fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (lane == 0u) {
    let skipped = select(0, skipped_i(0), skipped_given());
    if (starts_given()) {
      let first_row = starts_i(group.z);
      task = vec4i(first_row, starts_i(group.z + 1u) - first_row, last_i(group.z), skipped);
    } else {
      task = vec4i(0, count_i(0), last_i(0), skipped);
    }
  }
  let bounds = workgroupUniformLoad(&task);
  let row = i32(group.x) * ${TILE_ROWS};
  if (row >= bounds.y) { return; }
  let head_stride = u32(word(${Attention.HeadStride}));
  let capacity = word(${Attention.Capacity});
  let advance = word(${Attention.Advance});
  let output_stride = u32(word(${Attention.OutputStride}));
  let tile_rows = u32(min(${TILE_ROWS}, bounds.y - row));
  let first_end = clamp(bounds.z + 1 + (bounds.w + row) * advance, 0, capacity);
  let end = min(first_end + i32(tile_rows - 1u) * advance, capacity);
  let first = max(0, first_end - word(${Attention.Window}));
  let base = first / 8 * 8;
  let head = group.y * head_stride;
  let queries = u32(bounds.x + bounds.w + row) * u32(word(${Attention.QueryStride})) + head;
  let keys = group.z * u32(word(${Attention.ContextStride})) + head * u32(capacity);
  let values = keys;

  let four_rows = lane / 16u;
  let quad = lane % 16u;
  let ends = first_end + (4 * i32(four_rows) + vec4i(0, 1, 2, 3)) * advance;
  var largest = vec4f(-3.4028234e38);
  ${wide ? '' : `let block = base; ${makeScores}`}
  ${forBlocks(`
    ${wide ? makeScores : ''}
    for (var t = quad; t < 8u * panels; t += 16u) {
      largest = max(largest, select(largest, pool[place_of(four_rows, t)], visible(block + i32(t), ends)));
    }`)}
  pool[${stagedValues}u + lane] = largest;
  workgroupBarrier();
  for (var i = 0u; i < 16u; i++) { largest = max(largest, pool[${stagedValues}u + four_rows * 16u + i]); }

  var sums = vec4f();
  var factors = vec4f(1.0);
  ${forBlocks(`
    ${wide ? makeScores : ''}
    for (var t = quad; t < 8u * panels; t += 16u) {
      let at = place_of(four_rows, t);
      pool[at] = weights_of(pool[at], largest, visible(block + i32(t), ends));
    }
    workgroupBarrier();
    if (lane < 32u) {
      for (var t = lane % 8u; t < 8u * panels; t += 8u) { sums += pool[place_of(lane / 8u, t)]; }
    }
    if (block + ${block} >= end) {
      if (lane < 32u) { pool[${stagedValues}u + lane] = sums; }
      workgroupBarrier();
      ${lines(8, (i) => `let sum${i} = pool[${stagedValues}u + four_rows * 8u + ${i}u];`)}
      factors = 1.0 / (((sum0 + sum1) + (sum2 + sum3)) + ((sum4 + sum5) + (sum6 + sum7)));
    }
    for (var slab = 0u; slab < head_stride; slab += ${SLAB}u) {
      let channel = slab + 4u * quad;
      let output = (u32(bounds.x + row) + 4u * four_rows) * output_stride + head + channel;
      ${lines(4, (r) => `let written${r} = channel < head_stride && 4u * four_rows + ${r}u < tile_rows;`)}
      ${lines(4, (r) => `var out${r} = vec4f();`)}
      ${wide ? `if (block > base) { ${lines(4, (r) => `if (written${r}) { out${r} = output_v(output + ${r}u * output_stride); }`)} }` : ''}
      for (var chunk = 0u; chunk < 8u * panels; chunk += ${STAGED}u) {
        workgroupBarrier();
        let staged_key = (lane % 32u) / 2u;
        let key = block + i32(chunk + staged_key);
        let exists = key >= first && key < end;
        let value = values + u32(clamp(key, 0, capacity - 1)) * 8u + (lane % 2u) * 4u;
        let panel = lane / 32u;
        let last_panel = head_stride / 8u - 1u;
        let staged = ${stagedValues}u + staged_key * ${VALUE_STRIDE}u + 2u * panel + lane % 2u;
        ${lines(4, (i) => `let v${i} = values_v(value + min(slab / 8u + panel + ${2 * i}u, last_panel) * u32(capacity) * 8u);`)}
        ${lines(4, (i) => `pool[staged + ${4 * i}u] = select(vec4f(), v${i}, exists);`)}
        workgroupBarrier();
        if (channel < head_stride) {
          let fours = min(${STAGED / 4}u, 2u * panels - chunk / 4u);
          for (var four = 0u; four < fours; four++) {
            let weight = four_rows * ${groupStride}u + chunk / 4u + four;
            let staged_value = ${stagedValues}u + four * ${4 * VALUE_STRIDE}u + quad;
            ${lines(
              4,
              (i) => `{
              let w = pool[weight + ${i * keyStride}u];
              let v = pool[staged_value + ${i * VALUE_STRIDE}u];
              ${lines(4, (r) => `out${r} = fma(vec4f(w[${r}]), v, out${r});`)}
            }`,
            )}
          }
        }
      }
      ${lines(4, (r) => `if (written${r}) { output_set_v(output + ${r}u * output_stride, out${r} * factors[${r}]); }`)}
    }`)}
}`,
    workgroups: (op) => {
      const { words, header } = op
      const windowed = (words[Attention.Starts] as BufferIndex) !== BufferIndex.None
      const rows = windowed ? words[Attention.ContextRows]! : op.rows(Attention.Rows)
      return [Math.ceil(rows / TILE_ROWS), words[Attention.Heads]!, windowed ? Math.max(1, header[DispatchHeader.Windows]!) : 1]
    },
  }
}

/** Kernels by the maximum number of keys of a tile; the last for any number. All give the same bits. */
export const attentionForms: readonly { readonly keys: number; readonly kernel: Kernel<Opcode.Attention> }[] = [
  ...BLOCKS.map((keys, i) => ({ keys, kernel: attentionKernel(i + 1, false) })),
  { keys: Infinity, kernel: attentionKernel(BLOCKS.length, true) },
]

/**
 * The forms that can run an op: those with room for all keys from the first panel that a tile's rows see to the last
 * key.
 */
export function fittingForms({ words }: OpView): readonly Kernel<Opcode.Attention>[] {
  const most = Math.min(words[Attention.Capacity]!, words[Attention.Window]! + (TILE_ROWS - 1) * words[Attention.Advance]! + 7)
  return attentionForms.filter(({ keys }) => most <= keys).map(({ kernel }) => kernel)
}

export function chooseAttention(op: OpView): Kernel<Opcode.Attention> {
  return fittingForms(op)[0]!
}
