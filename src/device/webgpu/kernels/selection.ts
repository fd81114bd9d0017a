import { AssignSlots, Descent, Piece, SelectContext, Selection, SelectKeyValues, SelectQueries } from '../../../../assembly/steps.js'
import type { Kernel, StepView, Workgroups } from '../kernel.js'
import { descent } from './descent.js'
import { BLOCK, TOP_K } from './top-k.js'
import { PREFIX_SUM, WIDTH } from './workgroup.js'

/** Most workgroups along a dimension. */
const MOST_WORKGROUPS = 65535

/** Experts in x, the piece's windows in y and, so many at a time, in z. */
function perWindow({ header }: StepView, experts: number): Workgroups {
  const windows = header[Piece.Windows]!
  return [experts, Math.min(windows, MOST_WORKGROUPS), Math.ceil(windows / MOST_WORKGROUPS)]
}

/** `window_of(group)`: the window that a workgroup of `perWindow` works on. */
const WINDOW_OF = `
fn window_of(group: vec3u) -> u32 { return u32(piece_word(${Piece.Window})) + group.z * ${MOST_WORKGROUPS}u + group.y; }`

/**
 * Chooses k of a row's candidates by `Similarities` from `row_start` on. `choose(lane, n, length, k)`: n candidates, all unmasked, of a row of `length`;
 * returns the cut for `take`. `score_at(i)`: what candidate i carries if it is taken. c is computed where it is needed, from an a that all invocations share,
 * so that it is the same at every place.
 *
 * @param words the step's words of the descent
 */
const choice = (words: number) => `
var<private> row_start: u32;
var<private> relaxed = false;
var<private> scored = false;
var<private> shift_and_eps: vec2f;
fn similarity_at(i: u32) -> f32 { return similarities_f(row_start + i); }
fn relaxed_at(i: u32) -> f32 { return min(similarity_at(i) + shift_and_eps.x, 0.0); }
fn key_at(i: u32) -> u32 {
  if (relaxed) { return ordered_key(bitcast<u32>(relaxed_at(i))); }
  return ordered_key(u32(similarities_i(row_start + i)));
}
${TOP_K}
${descent(words)}
fn choose(lane: u32, n: u32, length: u32, k: u32) -> vec2u {
  if (length <= k) { return vec2u(0u, n); }
  let top_k = word(${words + Descent.Selection}) == ${Selection.TopK};
  let straight_through = word(${words + Descent.StraightThrough}) != 0;
  if (!(top_k && straight_through)) {
    shift_and_eps = descend(lane, n, length, k);
    relaxed = !top_k;
    scored = !straight_through;
  }
  return find_cut(lane, n, k);
}
fn score_at(i: u32) -> f32 {
  if (scored) { return exp_of(relaxed_at(i) / shift_and_eps.y); }
  return 1.0;
}`

/** `SelectQueries`: a workgroup for each window and expert. */
export const selectQueries: Kernel = {
  name: 'select-queries',
  operands: { similarities: SelectQueries.Similarities, taken: SelectQueries.Taken, scores: SelectQueries.Scores },
  view: 'words',
  code: `
${WINDOW_OF}
${choice(SelectQueries.Descent)}
@compute @workgroup_size(${WIDTH}) fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let size = u32(word(${SelectQueries.WindowSize}));
  let length = u32(piece_word(${Piece.SequenceRows}));
  let start = window_of(group) * size;
  if (start >= length) { return; }
  let n = min(size, length - start);
  row_start = group.x * u32(word(${SelectQueries.Capacity})) + start;
  let cut = choose(lane, n, size, u32(word(${SelectQueries.Count})));
  var before = vec2u();
  for (var block = 0u; block < n; block += ${BLOCK}u) {
    let found = take(lane, block, n, cut, before);
    before = found.after;
    for (var j = 0u; j < 4u; j++) {
      let i = block + 4u * lane + j;
      if (i >= n) { break; }
      let is_query = found.places[j] >= 0;
      taken_set_i(row_start + i, select(0, 1, is_query));
      if (is_query) { scores_set_f(row_start + i, score_at(i)); }
    }
  }
}`,
  workgroups: (step) => perWindow(step, step.words[SelectQueries.Experts]!),
}

/**
 * `SelectKeyValues`: a workgroup for each window and expert, among all the tokens that the window sees: windows run at once, so none begins from another's
 * choice.
 */
export const selectKeyValues: Kernel = {
  name: 'select-key-values',
  operands: {
    similarities: SelectKeyValues.Similarities,
    lists: SelectKeyValues.Lists,
    scores: SelectKeyValues.Scores,
    chosen: SelectKeyValues.Chosen,
  },
  view: 'words',
  code: `
${WINDOW_OF}
${choice(SelectKeyValues.Descent)}
@compute @workgroup_size(${WIDTH}) fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let size = u32(word(${SelectKeyValues.WindowSize}));
  let k = u32(word(${SelectKeyValues.Count}));
  let window = window_of(group);
  // the row is as long as for the last window: the tokens that this one does not see are masked, and count
  let length = (u32(piece_word(${Piece.SequenceRows})) - 1u) / size * size;
  let n = window * size;
  if (n == 0u || n > length) { return; }
  row_start = group.x * u32(word(${SelectKeyValues.Capacity}));
  let list = ((window - 1u) * u32(word(${SelectKeyValues.Experts})) + group.x) * u32(word(${SelectKeyValues.ListCapacity}));
  let cut = choose(lane, n, length, k);
  var before = vec2u();
  for (var block = 0u; block < n; block += ${BLOCK}u) {
    let found = take(lane, block, n, cut, before);
    before = found.after;
    for (var j = 0u; j < 4u; j++) {
      let i = block + 4u * lane + j;
      let place = u32(found.places[j]);
      if (place >= min(k, n)) { continue; }
      lists_set_i(list + place, i32(i));
      scores_set_f(list + place, score_at(i));
      chosen_set_i(row_start + i, 1);
    }
  }
}`,
  workgroups: (step) => perWindow(step, step.words[SelectKeyValues.Experts]!),
}

/**
 * `SelectContext`: a workgroup an expert. The context's places are written while its candidates are read: a candidate moves to its own place or a lower one,
 * and each block is read before any of it is written.
 */
export const selectContext: Kernel = {
  name: 'select-context',
  operands: {
    window: SelectContext.Similarities,
    context: SelectContext.ContextSimilarities,
    positions: SelectContext.ContextPositions,
    kept: SelectContext.Kept,
    kept_counts: SelectContext.KeptCounts,
    newcomers: SelectContext.Newcomers,
    newcomer_counts: SelectContext.NewcomerCounts,
  },
  view: 'words',
  code: `
var<private> places_start: u32;
var<private> window_start: u32;
var<private> held: u32;
fn candidate_at(i: u32) -> u32 {
  if (i < held) { return u32(context_i(places_start + i)); }
  return u32(window_i(window_start + i - held));
}
fn key_at(i: u32) -> u32 { return ordered_key(candidate_at(i)); }
${TOP_K}
@compute @workgroup_size(${WIDTH}) fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let expert = group.x;
  if (piece_word(${Piece.Closes}) == 0) {
    if (lane == 0u) {
      kept_counts_set_i(expert, 0);
      newcomer_counts_set_i(expert, 0);
    }
    return;
  }
  let size = u32(word(${SelectContext.Window}));
  let old = u32(piece_word(${Piece.ContextCount}));
  let n = old + size;
  let k = min(u32(word(${SelectContext.Count})), n);
  let start = piece_word(${Piece.WindowPosition});
  places_start = expert * u32(word(${SelectContext.ContextCapacity}));
  window_start = expert * size;
  held = old;
  let cut = find_cut(lane, n, k);
  var before = vec2u();
  var stay = 0u;
  for (var block = 0u; block < n; block += ${BLOCK}u) {
    let first = block + 4u * lane;
    var similarities = vec4u();
    var moved = vec4i();
    for (var j = 0u; j < 4u; j++) {
      let i = first + j;
      if (i < n) { similarities[j] = candidate_at(i); }
      if (i < old) { moved[j] = positions_i(places_start + i); } else { moved[j] = start + i32(i - old); }
    }
    let found = take(lane, block, n, cut, before);
    before = found.after;
    storageBarrier();
    var stays = 0u;
    for (var j = 0u; j < 4u; j++) { stays += u32(found.places[j] >= 0 && first + j < old); }
    stay += prefix_sum(lane, stays).y;
    for (var j = 0u; j < 4u; j++) {
      let i = first + j;
      let place = u32(found.places[j]);
      if (place >= k) { continue; }
      context_set_i(places_start + place, i32(similarities[j]));
      positions_set_i(places_start + place, moved[j]);
      if (i < old) { kept_set_i(places_start + place, i32(i)); }
      else { newcomers_set_i(window_start + place - stay, i32(i - old)); }
    }
  }
  if (lane == 0u) {
    kept_counts_set_i(expert, i32(stay));
    newcomer_counts_set_i(expert, i32(k - stay));
  }
}`,
  workgroups: ({ words }) => [words[SelectContext.Experts]!],
}

/** `AssignSlots`: numbers run on from expert to expert, so one workgroup goes through them all. */
export const assignSlots: Kernel = {
  name: 'assign-slots',
  operands: { chosen: AssignSlots.Chosen, positions: AssignSlots.Positions, counts: AssignSlots.Counts },
  view: 'words',
  code: `
${PREFIX_SUM}
@compute @workgroup_size(${WIDTH}) fn main(@builtin(local_invocation_index) lane: u32) {
  let length = u32(piece_word(${Piece.SequenceRows}));
  var slot = 0u;
  for (var expert = 0u; expert < u32(word(${AssignSlots.Experts})); expert++) {
    let start = expert * u32(word(${AssignSlots.Capacity}));
    let first = slot;
    for (var block = 0u; block < length; block += ${BLOCK}u) {
      let at = block + 4u * lane;
      var marks = vec4u();
      for (var j = 0u; j < 4u; j++) {
        if (at + j < length) { marks[j] = u32(chosen_i(start + at + j) != 0); }
      }
      let sums = prefix_sum(lane, marks.x + marks.y + marks.z + marks.w);
      var own = slot + sums.x;
      for (var j = 0u; j < 4u; j++) {
        if (at + j >= length) { break; }
        if (marks[j] == 0u) {
          chosen_set_i(start + at + j, -1);
          continue;
        }
        positions_set_i(own, i32(at + j));
        chosen_set_i(start + at + j, i32(own));
        own++;
      }
      slot += sums.y;
    }
    if (lane == 0u) { counts_set_i(expert, i32(slot - first)); }
  }
}`,
  workgroups: () => [1],
}
