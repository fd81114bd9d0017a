import { DispatchHeader } from '../../../../../assembly/ir/header.js'
import { type Opcode, SelectContext } from '../../../../../assembly/ir/ops.js'
import type { Kernel } from '../../kernel.js'
import { withCollectives } from '../wgsl/collectives.js'
import { TOP_K } from './top-k.js'
import { CHUNK, WIDTH } from '../wgsl/workgroup.js'

/**
 * `SelectContext`: one workgroup per expert. The context is overwritten while its candidates are read: a candidate
 * moves to its own place or a lower one, and each batch is read before any of it is written.
 */
export const selectContext: Kernel<Opcode.SelectContext> = {
  name: 'select-context',
  operands: {
    window: SelectContext.RouterScores,
    context: SelectContext.ContextRouterScores,
    positions: SelectContext.ContextPositions,
    retained: SelectContext.Retained,
    retained_counts: SelectContext.RetainedCounts,
    admitted: SelectContext.Admitted,
    admitted_counts: SelectContext.AdmittedCounts,
  },
  view: 'words',
  ...withCollectives(`
var<private> places_start: u32;
var<private> window_start: u32;
var<private> held: u32;
fn candidate_at(i: u32) -> u32 {
  if (i < held) { return u32(context_i(places_start + i)); }
  return u32(window_i(window_start + i - held));
}
fn key_at(i: u32) -> u32 { return ordered_key(candidate_at(i)); }
${TOP_K}
@compute @workgroup_size(${WIDTH}) fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) index: u32) {
  let lane = lane_of(index);
  let expert = group.x;
  if (header_word(${DispatchHeader.ClosingRows}) == 0) {
    if (lane == 0u) {
      retained_counts_set_i(expert, 0);
      admitted_counts_set_i(expert, 0);
    }
    return;
  }
  let size = u32(word(${SelectContext.Window}));
  let old = u32(header_word(${DispatchHeader.ClosingContextCount}));
  let n = old + size;
  let k = min(u32(word(${SelectContext.Count})), n);
  let start = vec2u(u32(header_word(${DispatchHeader.ClosingPosition})), u32(header_word(${DispatchHeader.ClosingPosition + 1})));
  places_start = expert * u32(word(${SelectContext.ContextCapacity}));
  window_start = expert * size;
  held = old;
  let cut = find_cut(lane, n, k);
  var before = vec2u();
  var stay = 0u;
  for (var chunk = 0u; chunk < n; chunk += ${CHUNK}u) {
    let counts = rank(lane, chunk, n, cut);
    if (old >= chunk && old < chunk + ${CHUNK}u) { stay = taken_before(old - chunk, cut, before); }
    for (var first = chunk; first < min(chunk + ${CHUNK}u, n); first += ${WIDTH}u) {
      let i = first + lane;
      let bits = candidate_at(min(i, n - 1u));
      let known = 2u * (places_start + min(i, old));
      var position = vec2u(start.x + (i - old), start.y);
      if (position.x < start.x) { position.y += 1u; }
      if (i < old) { position = vec2u(u32(positions_i(known)), u32(positions_i(known + 1u))); }
      storageBarrier();
      let place = taken_before(i - chunk, cut, before);
      if (i < n && place < k && is_taken(i - chunk, cut, before)) {
        context_set_i(places_start + place, i32(bits));
        positions_set_i(2u * (places_start + place), i32(position.x));
        positions_set_i(2u * (places_start + place) + 1u, i32(position.y));
        if (i < old) { retained_set_i(places_start + place, i32(i)); }
        else { admitted_set_i(window_start + place - stay, i32(i - old)); }
      }
    }
    before += counts;
  }
  if (lane == 0u) {
    retained_counts_set_i(expert, i32(stay));
    admitted_counts_set_i(expert, i32(k - stay));
  }
}`),
  workgroups: ({ words }) => [words[SelectContext.Experts]!],
}
