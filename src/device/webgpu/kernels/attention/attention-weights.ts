import { AttentionWeights, type Opcode } from '../../../../../assembly/ir/ops.js'
import type { Kernel } from '../../kernel.js'
import { withCollectives } from '../wgsl/collectives.js'
import { EXP } from '../wgsl/math.js'
import { SUM_OF_ALL, WIDTH } from '../wgsl/workgroup.js'

/**
 * `AttentionWeights`: one workgroup per head, in which each invocation keeps the same keys throughout: it reads no
 * weight that another one has written.
 */
export const attentionWeights: Kernel<Opcode.AttentionWeights> = {
  name: 'attention-weights',
  operands: {
    queries: AttentionWeights.Queries,
    keys: AttentionWeights.Keys,
    weights: AttentionWeights.Weights,
    last: AttentionWeights.End,
  },
  view: 'words',
  ...withCollectives(`
${EXP}
${SUM_OF_ALL}
var<workgroup> last_key: i32;
@compute @workgroup_size(${WIDTH}) fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) index: u32) {
  let lane = lane_of(index);
  if (lane == 0u) { last_key = last_i(0); }
  let capacity = word(${AttentionWeights.Capacity});
  let end = clamp(workgroupUniformLoad(&last_key) + 1, 0, capacity);
  let first = max(0, end - word(${AttentionWeights.Window}));
  let base = first / 8 * 8;
  let columns = u32(end - base + 7) / 8u * 8u;
  let head_stride = u32(word(${AttentionWeights.HeadStride}));
  let width = u32(word(${AttentionWeights.HeadWidth}));
  let query = group.x * head_stride;
  let keys = query * u32(capacity) + u32(base) * head_stride;
  let row = group.x * u32(word(${AttentionWeights.WeightStride}));
  var largest = -3.4028234e38;
  for (var t = lane; t < columns; t += ${WIDTH}u) {
    if (base + i32(t) < first || base + i32(t) >= end) { continue; }
    var key = keys + t / 8u * head_stride * 8u + t % 8u;
    var score = 0.0;
    for (var channel = 0u; channel < width; channel++) {
      score = fma(queries_f(query + channel), keys_f(key), score);
      key += 8u;
    }
    weights_set_f(row + t, score);
    largest = max(largest, score);
  }
  largest = largest_of_all(lane, largest);
  var sum = 0.0;
  for (var t = lane; t < columns; t += ${WIDTH}u) {
    var weight = 0.0;
    if (base + i32(t) >= first && base + i32(t) < end) {
      weight = exp_of((weights_f(row + t) - largest) * float_word(${AttentionWeights.Scale}));
    }
    weights_set_f(row + t, weight);
    sum += weight;
  }
  let factor = 1.0 / sum_of_all(lane, sum);
  for (var t = lane; t < columns; t += ${WIDTH}u) { weights_set_f(row + t, weights_f(row + t) * factor); }
}`),
  workgroups: ({ words }) => [words[AttentionWeights.Heads]!],
}
