import { DispatchHeader } from '../../../../../assembly/ir/header.js'
import { AssignSlots, Descent, type Opcode, SelectKeyValues, SelectQueries } from '../../../../../assembly/ir/ops.js'
import { SelectionAlgorithm } from '../../../../../assembly/ir/values.js'
import type { Kernel, OpView, Workgroups } from '../../kernel.js'
import { withCollectives } from '../wgsl/collectives.js'
import { descent } from './descent.js'
import { TOP_K } from './top-k.js'
import { BLOCK, CHUNK, MARKS, OFFSETS, WIDTH } from '../wgsl/workgroup.js'

/** Maximum workgroups along a dimension. */
const MAX_WORKGROUPS = 65535

/** Experts in x, and the chunk's windows in y and, beyond its maximum, in z. */
function perWindow({ header }: OpView, experts: number): Workgroups {
  const windows = header[DispatchHeader.Windows]!
  return [experts, Math.min(windows, MAX_WORKGROUPS), Math.ceil(windows / MAX_WORKGROUPS)]
}

/** `window_of(group)`: the window for a workgroup of `perWindow`. */
const WINDOW_OF = `
fn window_of(group: vec3u) -> u32 { return u32(header_word(${DispatchHeader.Window})) + group.z * ${MAX_WORKGROUPS}u + group.y; }`

/**
 * Chooses k of a row's candidates by the `RouterScores` from `row_start` on. `choose(lane, n, length, k)`: n
 * candidates, all unmasked, of a row of `length`; returns the cut-off. `score_at(i)`: the score that candidate i
 * carries if chosen. c is recomputed where needed from an a that all invocations share, so it is the same everywhere.
 * @param words the op's words of the descent
 */
const choice = (words: number) => `
var<private> row_start: u32;
var<private> relaxed = false;
var<private> scored = false;
var<private> shift_and_eps: vec2f;
fn router_score_at(i: u32) -> f32 { return router_scores_f(row_start + i); }
fn relaxed_of(router_score: f32) -> f32 { return min(router_score + shift_and_eps.x, 0.0); }
fn key_at(i: u32) -> u32 {
  let bits = u32(router_scores_i(row_start + i));
  return ordered_key(select(bits, bitcast<u32>(relaxed_of(bitcast<f32>(bits))), relaxed));
}
${TOP_K}
${descent(words)}
fn choose(lane: u32, n: u32, length: u32, k: u32) -> vec2u {
  if (length <= k) { return vec2u(0u, n); }
  let top_k = word(${words + Descent.Selection}) == ${SelectionAlgorithm.TopK};
  let straight_through = word(${words + Descent.StraightThrough}) != 0;
  if (!(top_k && straight_through)) {
    shift_and_eps = descend(lane, n, length, k);
    relaxed = !top_k;
    scored = !straight_through;
  }
  return find_cut(lane, n, k);
}
fn score_at(i: u32) -> f32 {
  if (scored) { return exp_of(relaxed_of(router_score_at(i)) / shift_and_eps.y); }
  return 1.0;
}`

/** `SelectQueries`: one workgroup per window and expert. */
export const selectQueries: Kernel<Opcode.SelectQueries> = {
  name: 'select-queries',
  operands: { router_scores: SelectQueries.RouterScores, query_mask: SelectQueries.QueryMask, scores: SelectQueries.Scores },
  view: 'words',
  ...withCollectives(`
${WINDOW_OF}
${choice(SelectQueries.Descent)}
@compute @workgroup_size(${WIDTH}) fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) index: u32) {
  let lane = lane_of(index);
  let size = u32(word(${SelectQueries.WindowSize}));
  let length = u32(header_word(${DispatchHeader.SequenceRows}));
  let start = window_of(group) * size;
  if (start >= length) { return; }
  let n = min(size, length - start);
  row_start = group.x * u32(word(${SelectQueries.Capacity})) + start;
  let cut = choose(lane, n, size, u32(word(${SelectQueries.Count})));
  var before = vec2u();
  for (var chunk = 0u; chunk < n; chunk += ${CHUNK}u) {
    let counts = rank(lane, chunk, n, cut);
    for (var i = chunk + lane; i < min(chunk + ${CHUNK}u, n); i += ${WIDTH}u) {
      let is_query = is_taken(i - chunk, cut, before);
      query_mask_set_i(row_start + i, select(0, 1, is_query));
      if (is_query) { scores_set_f(row_start + i, score_at(i)); }
    }
    before += counts;
  }
}`),
  workgroups: (op) => perWindow(op, op.words[SelectQueries.Experts]!),
}

/**
 * `folded(window)`: reorders the chunk's windows, the last half first and backwards, then the first half. Workgroups
 * half the windows apart then have rows of constant total length, which balances the load over a GPU's processors and
 * saves a sixth of the time (16,384 tokens, measured, H100).
 */
const FOLDED = `
fn folded(window: u32) -> u32 {
  let first = u32(header_word(${DispatchHeader.Window}));
  let windows = u32(header_word(${DispatchHeader.Windows}));
  let place = window - first;
  let half = (windows + 1u) / 2u;
  return first + select(place - half, windows - 1u - place, place < half);
}`

/**
 * `SelectKeyValues`: one workgroup per window and expert, choosing among all tokens the window sees: windows run
 * concurrently, so none can start from another's choice.
 */
export const selectKeyValues: Kernel<Opcode.SelectKeyValues> = {
  name: 'select-key-values',
  operands: {
    router_scores: SelectKeyValues.RouterScores,
    lists: SelectKeyValues.Lists,
    scores: SelectKeyValues.Scores,
    key_value_mask: SelectKeyValues.KeyValueMask,
  },
  view: 'words',
  ...withCollectives(`
${WINDOW_OF}
${FOLDED}
${choice(SelectKeyValues.Descent)}
@compute @workgroup_size(${WIDTH}) fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) index: u32) {
  let lane = lane_of(index);
  let size = u32(word(${SelectKeyValues.WindowSize}));
  let k = u32(word(${SelectKeyValues.Count}));
  let window = folded(window_of(group));
  // the row is as long as for the last window: the tokens that this one does not see are masked, and count
  let length = (u32(header_word(${DispatchHeader.SequenceRows})) - 1u) / size * size;
  let n = window * size;
  if (n == 0u || n > length) { return; }
  row_start = group.x * u32(word(${SelectKeyValues.Capacity}));
  let list = ((window - 1u) * u32(word(${SelectKeyValues.Experts})) + group.x) * u32(word(${SelectKeyValues.ListCapacity}));
  let cut = choose(lane, n, length, k);
  var before = vec2u();
  for (var chunk = 0u; chunk < n; chunk += ${CHUNK}u) {
    let counts = rank(lane, chunk, n, cut);
    for (var i = chunk + lane; i < min(chunk + ${CHUNK}u, n); i += ${WIDTH}u) {
      if (!is_taken(i - chunk, cut, before)) { continue; }
      let place = taken_before(i - chunk, cut, before);
      if (place >= min(k, n)) { continue; }
      lists_set_i(list + place, i32(i));
      scores_set_f(list + place, score_at(i));
      key_value_mask_set_i(row_start + i, 1);
    }
    before += counts;
  }
}`),
  workgroups: (op) => perWindow(op, op.words[SelectKeyValues.Experts]!),
}

/**
 * `AssignSlots`: if numbering continues from expert to expert, one workgroup handles them all; otherwise one per
 * expert.
 */
export const assignSlots: Kernel<Opcode.AssignSlots> = {
  name: 'assign-slots',
  operands: { slots: AssignSlots.Slots, positions: AssignSlots.Positions, counts: AssignSlots.Counts },
  view: 'words',
  ...withCollectives(`
${MARKS}
@compute @workgroup_size(${WIDTH}) fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) index: u32) {
  let lane = lane_of(index);
  let length = u32(header_word(${DispatchHeader.SequenceRows}));
  let stride = u32(word(${AssignSlots.Stride}));
  let end_expert = select(u32(word(${AssignSlots.Experts})), group.x + 1u, stride > 0u);
  var slot = group.x * stride;
  for (var expert = group.x; expert < end_expert; expert++) {
    let start = expert * u32(word(${AssignSlots.Capacity}));
    let first = slot;
    for (var chunk = 0u; chunk < length; chunk += ${CHUNK}u) {
      let end = min(${CHUNK}u, length - chunk);
      clear_marks(lane);
      for (var at = lane; at < end; at += ${BLOCK}u) {
        let places = at + ${OFFSETS};
        let read = start + chunk + min(places, vec4u(end - 1u));
        let is_chosen = vec4i(slots_i(read.x), slots_i(read.y), slots_i(read.z), slots_i(read.w)) != vec4i();
        for (var j = 0u; j < 4u; j++) {
          if (is_chosen[j] && places[j] < end) { mark(places[j], 0u); }
        }
      }
      let counts = count_marks(lane);
      for (var at = lane; at < end; at += ${WIDTH}u) {
        let is_chosen = is_marked(at, 0u);
        let own = slot + marks_before(at).x;
        slots_set_i(start + chunk + at, select(-1, i32(own), is_chosen));
        if (is_chosen) { positions_set_i(own, i32(chunk + at)); }
      }
      slot += counts.x;
    }
    if (lane == 0u) { counts_set_i(expert, i32(slot - first)); }
  }
}`),
  workgroups: ({ words }) => [words[AssignSlots.Stride]! > 0 ? words[AssignSlots.Experts]! : 1],
}
