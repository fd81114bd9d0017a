import { DispatchHeader } from '../../../../assembly/ir/header.js'
import { Combine, CopyRows, Embed, LogProbabilities, type Opcode } from '../../../../assembly/ir/ops.js'
import { WeightFormat } from '../../../../assembly/ir/values.js'
import type { Kernel, OpView } from '../kernel.js'
import { fourWeights, WIDEN_WEIGHTS } from './wgsl/widen-weights.js'
import { EXP, LOG } from './wgsl/math.js'
import { perVector, ROW_SUM, ROW_WIDTH, UNIFORM } from './wgsl/rows.js'

/** `Embed`. Learned positions are few, so the low word of the position suffices. */
function makeEmbed(tokens: WeightFormat, positions: WeightFormat): Kernel<Opcode.Embed> {
  const position = `(u32(header_word(${DispatchHeader.Position})) + row) * stride + column`
  return {
    name: `embed-${WeightFormat[tokens]}-${WeightFormat[positions]}`.toLowerCase(),
    operands: { count: Embed.Rows, ids: Embed.TokenIds, tokens: Embed.Tokens, positions: Embed.Positions, output: Embed.Output },
    view: 'vectors',
    code: `
${WIDEN_WEIGHTS}
@compute @workgroup_size(${ROW_WIDTH}) fn main(@builtin(global_invocation_id) id: vec3u) {
  let stride = u32(word(${Embed.Stride}));
  let column = id.x * 4u;
  let row = id.y;
  if (column >= stride || row >= u32(count_i(0))) { return; }
  var value = ${fourWeights('tokens', tokens, 'u32(ids_i(row)) * stride + column')};
  if (positions_given()) { value += ${fourWeights('positions', positions, position)}; }
  output_set_v(row * stride + column, value);
}`,
    workgroups: (op) => perVector(op, Embed.Rows, op.words[Embed.Stride]!),
  }
}

const FORMATS = [WeightFormat.Float32, WeightFormat.Float16, WeightFormat.Bfloat16]
/** Indexed by the tokens' format, then the positions'. */
const embeds = FORMATS.map((tokens) => FORMATS.map((positions) => makeEmbed(tokens, positions)))

export function chooseEmbed({ words }: OpView): Kernel<Opcode.Embed> {
  return embeds[words[Embed.TokensFormat]!]![words[Embed.PositionsFormat]!]!
}

/** `CopyRows`. */
export const copyRows: Kernel<Opcode.CopyRows> = {
  name: 'copy-rows',
  operands: { count: CopyRows.Rows, first: CopyRows.First, input: CopyRows.Input, output: CopyRows.Output },
  view: 'vectors',
  code: `
@compute @workgroup_size(${ROW_WIDTH}) fn main(@builtin(global_invocation_id) id: vec3u) {
  let stride = u32(word(${CopyRows.Stride}));
  let column = id.x * 4u;
  if (column >= stride || id.y >= u32(count_i(0))) { return; }
  var row = id.y + u32(select(0, first_i(0), first_given()));
  let ring = u32(word(${CopyRows.Ring}));
  if (ring > 0u && row >= ring) { row -= ring; }
  output_set_v(row * stride + column, input_v(id.y * stride + column));
}`,
  workgroups: (op) => perVector(op, CopyRows.Rows, op.words[CopyRows.Stride]!),
}

/** `Combine`: terms in expert order. */
export const combine: Kernel<Opcode.Combine> = {
  name: 'combine',
  operands: {
    count: Combine.Rows,
    first: Combine.First,
    local: Combine.Local,
    routed: Combine.Routed,
    slots: Combine.Slots,
    scores: Combine.ListScores,
    null_tokens: Combine.NullTokens,
    residual: Combine.Residual,
    output: Combine.Output,
  },
  view: 'vectors',
  code: `
@compute @workgroup_size(${ROW_WIDTH}) fn main(@builtin(global_invocation_id) id: vec3u) {
  let stride = u32(word(${Combine.Stride}));
  let experts = u32(word(${Combine.Experts}));
  let capacity = u32(word(${Combine.RowCapacity}));
  let column = id.x * 4u;
  let row = id.y;
  if (column >= stride || row >= u32(count_i(0))) { return; }
  let place = row + u32(select(0, first_i(0), first_given()));
  var sum = local_v(row * stride + column);
  if (header_word(${DispatchHeader.Routed}) != 0 && place >= u32(header_word(${DispatchHeader.Unrouted}))) {
    for (var expert = 0u; expert < experts; expert++) {
      let slot = slots_i(expert * capacity + place);
      if (slot < 0) {
        sum += null_tokens_v(expert * stride + column);
      } else {
        let score = select(1.0, scores_f(expert * capacity + u32(slot)), scores_given());
        sum += routed_v((expert * capacity + u32(slot)) * stride + column) * score;
      }
    }
  }
  if (header_word(${DispatchHeader.Average}) != 0) { sum /= f32(experts + 1u); }
  if (residual_given()) { sum += residual_v(place * stride + column); }
  output_set_v(row * stride + column, sum);
}`,
  workgroups: (op) => perVector(op, Combine.Rows, op.words[Combine.Stride]!),
}

/** `LogProbabilities`: one workgroup per row. The result is a float32, written as an f64 of the same value. */
export const logProbabilities: Kernel<Opcode.LogProbabilities> = {
  name: 'log-probabilities',
  operands: {
    count: LogProbabilities.Rows,
    logits: LogProbabilities.Logits,
    targets: LogProbabilities.Targets,
    output: LogProbabilities.Output,
  },
  view: 'words',
  code: `
${EXP}
${LOG}
${UNIFORM}
${ROW_SUM}
var<workgroup> largest_parts: array<f32, ${ROW_WIDTH}>;
fn set_double(at: u32, value: f32) {
  let bits = bitcast<u32>(value);
  let magnitude = bits & 0x7fffffffu;
  var high = (magnitude >> 3u) + 0x38000000u;
  if (magnitude == 0u) { high = 0u; }
  if (magnitude >= 0x7f800000u) { high = 0x7ff00000u | ((magnitude & 0x7fffffu) >> 3u); }
  output_set_i(at, bitcast<i32>(magnitude << 29u));
  output_set_i(at + 1u, bitcast<i32>(high | (bits & 0x80000000u)));
}
@compute @workgroup_size(${ROW_WIDTH}) fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = group.x;
  if (row >= u32(uniform_of(lane, count_i(0)))) { return; }
  let start = row * u32(word(${LogProbabilities.Stride}));
  let width = u32(word(${LogProbabilities.Width}));
  var largest = logits_f(start);
  for (var i = lane; i < width; i += ${ROW_WIDTH}u) { largest = max(largest, logits_f(start + i)); }
  largest_parts[lane] = largest;
  for (var half = ${ROW_WIDTH / 2}u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { largest_parts[lane] = max(largest_parts[lane], largest_parts[lane + half]); }
  }
  workgroupBarrier();
  largest = largest_parts[0];
  var sum = 0.0;
  for (var i = lane; i < width; i += ${ROW_WIDTH}u) { sum += exp_of(logits_f(start + i) - largest); }
  sum = sum_over_row(lane, sum);
  if (lane == 0u) { set_double(2u * row, logits_f(start + u32(targets_i(row))) - largest - log_of(sum)); }
}`,
  workgroups: (op) => [op.rows(LogProbabilities.Rows)],
}
