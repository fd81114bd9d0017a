import { Piece, RouteCausal } from '../../../../assembly/steps.js'
import type { Kernel } from '../kernel.js'
import { withCollectives } from './collectives.js'
import { WIDTH } from './workgroup.js'

/**
 * `RouteCausal`: a workgroup an expert, an invocation a row. Earlier tokens pass through the workgroup's memory, always as many at a time, so that the loop
 * can be unrolled: three times as fast as stopping at the last one (measured, H100).
 */
export const routeCausal: Kernel = {
  name: 'route-causal',
  operands: { similarities: RouteCausal.Similarities, lists: RouteCausal.Lists, slots: RouteCausal.Slots, counts: RouteCausal.Counts },
  view: 'words',
  ...withCollectives(`
var<workgroup> earlier: array<f32, ${WIDTH}>;
@compute @workgroup_size(${WIDTH}) fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) index: u32) {
  let lane = lane_of(index);
  let expert = group.x;
  let rows = u32(select(0, piece_word(${Piece.Rows}), piece_word(${Piece.Routed}) != 0));
  let first = u32(piece_word(${Piece.WindowOffset}));
  let limit = u32(word(${RouteCausal.Count}));
  let start = expert * u32(word(${RouteCausal.Capacity}));
  let list = expert * u32(word(${RouteCausal.RowCapacity}));
  var taken = 0u;
  for (var block = 0u; block < rows; block += ${WIDTH}u) {
    let row = block + lane;
    let token = first + row;
    var own = 0.0;
    if (row < rows) { own = similarities_f(start + token); }
    var above = 0u;
    let end = first + min(block + ${WIDTH}u, rows);
    for (var tile = 0u; tile < end; tile += ${WIDTH}u) {
      workgroupBarrier();
      if (tile + lane < end) { earlier[lane] = similarities_f(start + tile + lane); }
      workgroupBarrier();
      let known = min(${WIDTH}u, max(token, tile) - tile);
      for (var i = 0u; i < ${WIDTH}u; i++) { above += u32(earlier[i] >= own) & u32(i < known); }
    }
    let is_query = row < rows && above < limit;
    let sums = prefix_sum(lane, u32(is_query));
    let place = taken + sums.x;
    if (row < rows) { slots_set_i(list + row, select(-1, i32(place), is_query)); }
    if (is_query) { lists_set_i(list + place, i32(row)); }
    taken += sums.y;
  }
  if (lane == 0u) { counts_set_i(expert, i32(taken)); }
}`),
  workgroups: ({ words }) => [words[RouteCausal.Experts]!],
}
