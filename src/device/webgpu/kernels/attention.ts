import { Attention, Buffer, Piece } from '../../../../assembly/steps.js'
import type { Kernel, StepView } from '../kernel.js'
import { EXP } from './math.js'

/*
 * A workgroup takes 16 rows of one head. Its 64 invocations are 4 by 16: each makes four rows' scores with up to three times four keys in registers,
 * from keys staged a few channels at a time, and later four rows by four channels of the output, from values staged a few keys at a time. Between the
 * two, weights lie in workgroup memory, a vector of four rows for each key.
 *
 * A query's bits do not depend on its neighbours: a score is one chain over channels, the maximum comes before the first exponential, their sum is
 * eight chains by key modulo 8 and one tree, an output is one chain over keys; hidden keys have weight +0, which leaves sums as they were.
 */
const TILE_ROWS = 16
const LANES = 64
/** Channels of keys that are staged at a time, and keys of values. */
const STAGED = 16
/** Channels of the output that a workgroup makes at a time: four for each of the 16 invocations that share rows. */
const SLAB = 64
/** Vectors from one staged key's values to the next: a slab's, and two that spread them over the banks. */
const VALUE_STRIDE = SLAB / 4 + 2
/** Keys of a tile where its scores fit workgroup memory, by vectors of four keys that an invocation holds. */
const SPANS = [64, 128, 176]
const WIDEST = SPANS.length

const lines = (count: number, line: (i: number) => string) => Array.from({ length: count }, (_, i) => line(i)).join('\n')

/** @param wide for any number of keys, block by block: the scores are made twice, for the maximum and for the weights */
function attentionKernel(spans: number, wide: boolean): Kernel {
  const block = SPANS[spans - 1]!
  const quads = block / 4
  // a stride that spreads what neighbouring invocations stage over the banks
  const keyStride = Math.ceil((quads - 2) / 4) * 4 + 2
  const stagedQueries = STAGED * keyStride
  const groupStride = block + 1
  const stagedValues = 4 * groupStride
  const pool = Math.max(stagedQueries + TILE_ROWS * (STAGED / 4), stagedValues + STAGED * VALUE_STRIDE)
  const everyScore = (line: (score: string, span: number, i: number) => string) => {
    return lines(spans, (span) => lines(4, (i) => line(`scores[${4 * span + i}]`, span, i)))
  }
  const forBlocks = (body: string) => {
    return wide ? `for (var block = base; block < end; block += ${block}) {\n${body}\n}` : `{ let block = base;\n${body}\n}`
  }
  const score = `
    let panels = min(${block / 8}u, u32(end - block + 7) / 8u);
    score_keys(lane, tile_rows, queries, keys + u32(block) * head_stride, panels);`

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
    },
    view: 'vectors',
    code: `
${EXP}
var<workgroup> pool: array<vec4f, ${pool}>;
var<workgroup> task: vec4i;
/* of four rows with key 4 · (lane % 16 + 16 · span) + i of the block at [4 · span + i] */
var<private> scores: array<vec4f, ${4 * spans}>;

fn score_keys(lane: u32, rows: u32, queries: u32, keys: u32, panels: u32) {
  let width = u32(word(${Attention.HeadWidth}));
  let head_stride = u32(word(${Attention.HeadStride}));
  let query_channel = 4u * (lane % 4u);
  let query = queries + min(lane / 4u, rows - 1u) * u32(word(${Attention.QueryStride})) + query_channel;
  let key_channel = (lane % 32u) / 2u;
  let key = keys + key_channel * 8u + (lane % 2u) * 4u;
  let place = key_channel * ${keyStride}u + lane % 2u;
  let first_row = ${stagedQueries}u + (lane / 16u) * 16u;
  ${everyScore((score) => `${score} = vec4f();`)}
  for (var channel = 0u; channel < width; channel += ${STAGED}u) {
    workgroupBarrier();
    if (channel + query_channel < head_stride) { pool[${stagedQueries}u + lane] = queries_v(query + channel); }
    if (channel + key_channel < head_stride) {
      for (var panel = lane / 32u; panel < panels; panel += 6u) {
        let a = keys_v(key + (panel * head_stride + channel) * 8u);
        let b = keys_v(key + (min(panel + 2u, panels - 1u) * head_stride + channel) * 8u);
        let c = keys_v(key + (min(panel + 4u, panels - 1u) * head_stride + channel) * 8u);
        pool[place + 2u * panel] = a;
        if (panel + 2u < panels) { pool[place + 2u * panel + 4u] = b; }
        if (panel + 4u < panels) { pool[place + 2u * panel + 8u] = c; }
      }
    }
    workgroupBarrier();
    /* columns beyond the real ones hold zeros */
    let staged = min(${STAGED / 4}u, (width - channel + 3u) / 4u);
    for (var four = 0u; four < staged; four++) {
      ${lines(4, (row) => `let q${row} = pool[first_row + ${4 * row}u + four];`)}
      let at = four * ${4 * keyStride}u + lane % 16u;
      ${lines(
        4,
        (c) => `{
        let q = vec4f(q0[${c}], q1[${c}], q2[${c}], q3[${c}]);
        ${lines(
          spans,
          (span) => `{
          let k = pool[at + ${c * keyStride + 16 * span}u];
          ${lines(4, (i) => `scores[${4 * span + i}] = fma(q, vec4f(k[${i}]), scores[${4 * span + i}]);`)}
        }`,
        )}
      }`,
      )}
    }
  }
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
    if (starts_given()) {
      let first = starts_i(group.z);
      task = vec4i(first, starts_i(group.z + 1u) - first, last_i(group.z), 0);
    } else {
      task = vec4i(0, count_i(0), last_i(0), 0);
    }
  }
  let bounds = workgroupUniformLoad(&task);
  let row = i32(group.x) * ${TILE_ROWS};
  if (row >= bounds.y) { return; }
  let head_stride = u32(word(${Attention.HeadStride}));
  let capacity = word(${Attention.Capacity});
  let advance = word(${Attention.Advance});
  let tile_rows = u32(min(${TILE_ROWS}, bounds.y - row));
  let first_end = clamp(bounds.z + 1 + row * advance, 0, capacity);
  let end = min(first_end + i32(tile_rows - 1u) * advance, capacity);
  let first = max(0, first_end - word(${Attention.Window}));
  let base = first / 8 * 8;
  let head = group.y * head_stride;
  let group_head = group.z * u32(word(${Attention.GroupStride})) + head * u32(capacity);
  let queries = u32(bounds.x + row) * u32(word(${Attention.QueryStride})) + head;
  let keys = group_head;
  let values = group_head;

  let four_rows = lane / 16u;
  let ends = first_end + (4 * i32(four_rows) + vec4i(0, 1, 2, 3)) * advance;
  let quad = lane % 16u;
  var largest = vec4f(-3.4028234e38);
  ${forBlocks(`${score}
    let key = block + 4 * i32(quad);
    ${everyScore((score, span, i) => `largest = max(largest, select(largest, ${score}, visible(key + ${64 * span + i}, ends)));`)}`)}
  workgroupBarrier();
  pool[lane] = largest;
  workgroupBarrier();
  for (var i = 0u; i < 16u; i++) { largest = max(largest, pool[four_rows * 16u + i]); }

  var sums = vec4f();
  var factors = vec4f();
  ${forBlocks(`${wide ? score : `let panels = u32(end - block + 7) / 8u;`}
    let key = block + 4 * i32(quad);
    let weights = four_rows * ${groupStride}u;
    workgroupBarrier();
    ${lines(
      spans,
      (span) => `if (quad + ${16 * span}u < 2u * panels) {
      ${lines(4, (i) => `pool[weights + ${i * quads + 16 * span}u + quad] = weights_of(scores[${4 * span + i}], largest, visible(key + ${64 * span + i}, ends));`)}
    }`,
    )}
    workgroupBarrier();
    if (lane < 32u) {
      let at = (lane / 8u) * ${groupStride}u + (lane % 4u) * ${quads}u + (lane % 8u) / 4u;
      for (var panel = 0u; panel < panels; panel++) { sums += pool[at + 2u * panel]; }
    }
    if (block + ${block} >= end) {
      if (lane < 32u) { pool[${stagedValues}u + lane] = sums; }
      workgroupBarrier();
      ${lines(8, (i) => `let s${i} = pool[${stagedValues}u + four_rows * 8u + ${i}u];`)}
      factors = 1.0 / (((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7)));
    }
    for (var slab = 0u; slab < head_stride; slab += ${SLAB}u) {
      let channel = slab + 4u * quad;
      let output = (u32(bounds.x + row) + 4u * four_rows) * u32(word(${Attention.OutputStride})) + head + channel;
      ${lines(4, (r) => `var out${r} = vec4f();`)}
      ${
        wide
          ? `if (block > base && channel < head_stride) {
        ${lines(4, (r) => `if (4u * four_rows + ${r}u < tile_rows) { out${r} = output_v(output + ${r}u * u32(word(${Attention.OutputStride}))); }`)}
      }`
          : ''
      }
      for (var chunk = 0u; chunk < 8u * panels; chunk += ${STAGED}u) {
        workgroupBarrier();
        let value_key = (lane % 32u) / 2u;
        let value = block + i32(chunk + value_key);
        let exists = value >= first && value < end;
        let source = values + u32(clamp(value, first, max(first, end - 1))) * 8u + (lane % 2u) * 4u;
        let panel = lane / 32u;
        let last_panel = (head_stride - slab) / 8u - 1u;
        ${lines(4, (i) => `let v${i} = values_v(source + (slab / 8u + min(panel + ${2 * i}u, last_panel)) * u32(capacity) * 8u);`)}
        let place = ${stagedValues}u + value_key * ${VALUE_STRIDE}u + 2u * panel + lane % 2u;
        ${lines(4, (i) => `pool[place + ${4 * i}u] = select(vec4f(), v${i}, exists);`)}
        workgroupBarrier();
        if (channel < head_stride) {
          let staged = min(${STAGED / 4}u, 2u * panels - chunk / 4u);
          for (var four = 0u; four < staged; four++) {
            let at = weights + chunk / 4u + four;
            let v_at = ${stagedValues}u + four * ${4 * VALUE_STRIDE}u + quad;
            ${lines(
              4,
              (i) => `{
              let w = pool[at + ${i * quads}u];
              let v = pool[v_at + ${i * VALUE_STRIDE}u];
              ${lines(4, (r) => `out${r} = fma(vec4f(w[${r}]), v, out${r});`)}
            }`,
            )}
          }
        }
      }
      if (channel < head_stride) {
        let factor = ${wide ? `select(vec4f(1.0), factors, block + ${block} >= end)` : 'factors'};
        ${lines(4, (r) => `if (4u * four_rows + ${r}u < tile_rows) { output_set_v(output + ${r}u * u32(word(${Attention.OutputStride})), out${r} * factor[${r}]); }`)}
      }
    }`)}
}`,
    workgroups: (step) => {
      const { words, header } = step
      const grouped = (words[Attention.Starts] as Buffer) !== Buffer.None
      const rows = grouped ? words[Attention.GroupRows]! : step.rows(Attention.Rows)
      return [Math.ceil(rows / TILE_ROWS), words[Attention.Heads]!, grouped ? Math.max(1, header[Piece.Windows]!) : 1]
    },
  }
}

/** For tiles of at most so many keys; the last for any. All give the same bits. */
export const attentionKernels: readonly { readonly keys: number; readonly kernel: Kernel }[] = [
  ...SPANS.map((keys, i) => ({ keys, kernel: attentionKernel(i + 1, false) })),
  { keys: Infinity, kernel: attentionKernel(WIDEST, true) },
]

/** Most keys between the first panel that a tile's rows see and their last key. */
export function tileKeys({ words }: StepView): number {
  return Math.min(words[Attention.Capacity]!, words[Attention.Window]! + (TILE_ROWS - 1) * words[Attention.Advance]! + 7)
}

export function chooseAttention(step: StepView): Kernel {
  const keys = tileKeys(step)
  return attentionKernels.find((form) => keys <= form.keys)!.kernel
}
