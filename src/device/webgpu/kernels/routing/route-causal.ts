import { DispatchHeader } from '../../../../../assembly/ir/header.js'
import { type Opcode, RouteCausal } from '../../../../../assembly/ir/ops.js'
import type { Kernel } from '../../kernel.js'
import { withCollectives } from '../wgsl/collectives.js'
import { WIDTH } from '../wgsl/workgroup.js'

/**
 * `RouteCausal`: one workgroup per expert, one invocation per row. Earlier tokens pass through workgroup memory, always
 * in batches of the same size, so that the loop can be unrolled: three times as fast as stopping at the last token
 * (measured, H100).
 */
export const routeCausal: Kernel<Opcode.RouteCausal> = {
  name: 'route-causal',
  operands: {
    count: RouteCausal.Rows,
    first: RouteCausal.First,
    router_scores: RouteCausal.RouterScores,
    lists: RouteCausal.Lists,
    slots: RouteCausal.Slots,
    counts: RouteCausal.Counts,
  },
  view: 'words',
  ...withCollectives(`
var<workgroup> earlier: array<f32, ${WIDTH}>;
@compute @workgroup_size(${WIDTH}) fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) index: u32) {
  let lane = lane_of(index);
  let expert = group.x;
  let first_row = u32(select(0, first_i(0), first_given()));
  let row_end = select(0u, first_row + u32(count_i(0)), header_word(${DispatchHeader.Routed}) != 0);
  let offset = u32(header_word(${DispatchHeader.WindowOffset}));
  let limit = u32(word(${RouteCausal.Count}));
  let start = expert * u32(word(${RouteCausal.Capacity}));
  let list = expert * u32(word(${RouteCausal.RowCapacity}));
  var taken = 0u;
  for (var block = first_row; block < row_end; block += ${WIDTH}u) {
    let row = block + lane;
    let token = offset + row;
    var own = 0.0;
    if (row < row_end) { own = router_scores_f(start + token); }
    var above = 0u;
    let end = offset + min(block + ${WIDTH}u, row_end);
    for (var tile = 0u; tile < end; tile += ${WIDTH}u) {
      workgroupBarrier();
      if (tile + lane < end) { earlier[lane] = router_scores_f(start + tile + lane); }
      workgroupBarrier();
      let known = min(${WIDTH}u, max(token, tile) - tile);
      for (var i = 0u; i < ${WIDTH}u; i++) { above += u32(earlier[i] >= own) & u32(i < known); }
    }
    let is_query = row < row_end && above < limit;
    let sums = prefix_sum(lane, u32(is_query));
    let place = taken + sums.x;
    if (row < row_end) { slots_set_i(list + row, select(-1, i32(place), is_query)); }
    if (is_query) { lists_set_i(list + place, i32(row)); }
    taken += sums.y;
  }
  if (lane == 0u) { counts_set_i(expert, i32(taken)); }
}`),
  workgroups: ({ words }) => [words[RouteCausal.Experts]!],
}
