import { BufferIndex, DispatchHeader } from '../../../../../assembly/ir/header.js'
import { GatherContext, NullContext, type Opcode, UpdateContext, UpdateContextInputs } from '../../../../../assembly/ir/ops.js'
import type { Kernel } from '../../kernel.js'
import { ROW_WIDTH } from '../wgsl/rows.js'

/** `key_place(rank, channel, …)` and `value_place`: positions of a head's key and value. */
const PLACES = `
fn key_place(rank: u32, channel: u32, head_stride: u32) -> u32 { return (rank / 8u * head_stride + channel) * 8u + rank % 8u; }
fn value_place(rank: u32, channel: u32, capacity: u32) -> u32 { return (channel / 8u * capacity + rank) * 8u + channel % 8u; }`

/** `NullContext`: one invocation per channel of each head. */
export const nullContext: Kernel<Opcode.NullContext> = {
  name: 'null-context',
  operands: { pair: NullContext.Null, keys: NullContext.Keys, values: NullContext.Values },
  view: 'words',
  code: `
${PLACES}
@compute @workgroup_size(${ROW_WIDTH}) fn main(@builtin(global_invocation_id) id: vec3u) {
  let head_stride = u32(word(${NullContext.HeadStride}));
  let capacity = u32(word(${NullContext.Capacity}));
  let part = u32(word(${NullContext.Heads})) * head_stride;
  if (id.x >= part) { return; }
  let head = id.x / head_stride * head_stride * capacity;
  let channel = id.x % head_stride;
  keys_set_f(head + key_place(0u, channel, head_stride), pair_f(id.x));
  values_set_f(head + value_place(0u, channel, capacity), pair_f(part + id.x));
}`,
  workgroups: ({ words }) => [Math.ceil((words[NullContext.Heads]! * words[NullContext.HeadStride]!) / ROW_WIDTH)],
}

/**
 * `GatherContext`: one workgroup per eight ranks of a head in a window. Neighbouring invocations handle neighbouring
 * ranks of a key, or channels of a value, and each keeps the same rank.
 */
export const gatherContext: Kernel<Opcode.GatherContext> = {
  name: 'gather-context',
  operands: {
    lists: GatherContext.Lists,
    scores: GatherContext.Scores,
    slots: GatherContext.Slots,
    key_values: GatherContext.KeyValues,
    pair: GatherContext.Null,
    keys: GatherContext.Keys,
    values: GatherContext.Values,
    ends: GatherContext.Ends,
  },
  view: 'words',
  code: `
${PLACES}
fn row_of(rank: u32, list: u32, part: u32) -> u32 {
  let position = u32(lists_i(list + rank - 1u));
  let slot = slots_i(u32(word(${GatherContext.Expert}) * word(${GatherContext.SequenceCapacity})) + position);
  return u32(slot) * 2u * part;
}
@compute @workgroup_size(${ROW_WIDTH}) fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let window = u32(header_word(${DispatchHeader.Window})) + group.z;
  if (window == 0u) { return; }
  var most = header_word(${DispatchHeader.ContextCount});
  if (ends_given()) { most = ends_i(group.z); }
  let head_stride = u32(word(${GatherContext.HeadStride}));
  let capacity = u32(word(${GatherContext.Capacity}));
  let part = u32(word(${GatherContext.Heads})) * head_stride;
  let head = group.y * head_stride;
  let context = group.z * u32(word(${GatherContext.ContextStride})) + head * capacity;
  let list = ((window - 1u) * u32(word(${GatherContext.Experts})) + u32(word(${GatherContext.Expert}))) * u32(word(${GatherContext.ListCapacity}));
  let last = u32(clamp(most, 0, i32(capacity) - 1));

  let rank = group.x * 8u + lane % 8u;
  if (rank <= last) {
    var row = 0u;
    if (rank > 0u) { row = row_of(rank, list, part); }
    for (var channel = lane / 8u; channel < head_stride; channel += ${ROW_WIDTH / 8}u) {
      var key: f32;
      if (rank == 0u) { key = pair_f(head + channel); } else { key = key_values_f(row + head + channel); }
      keys_set_f(context + key_place(rank, channel, head_stride), key);
    }
  }

  let value_rank = group.x * 8u + lane / 8u;
  if (value_rank <= last) {
    var row = 0u;
    var score = 1.0;
    if (value_rank > 0u) {
      row = row_of(value_rank, list, part);
      score = scores_f(list + value_rank - 1u);
    }
    for (var channel = lane % 8u; channel < head_stride; channel += 8u) {
      var value: f32;
      if (value_rank == 0u) { value = pair_f(part + head + channel); } else { value = key_values_f(row + part + head + channel) * score; }
      values_set_f(context + value_place(value_rank, channel, capacity), value);
    }
  }
}`,
  workgroups: ({ header, words }) => {
    if (header[DispatchHeader.WindowStart] === 0 || header[DispatchHeader.Routed] === 0) return [0]
    const listed = (words[GatherContext.Ends] as BufferIndex) !== BufferIndex.None
    const ranks = listed ? words[GatherContext.Capacity]! : header[DispatchHeader.ContextCount]! + 1
    return [Math.ceil(ranks / 8), words[GatherContext.Heads]!, Math.max(1, header[DispatchHeader.Windows]!)]
  },
}

/** Ranks that a workgroup of `updateContext` moves at a time. */
const MOVED = 32

/**
 * `UpdateContext`: one workgroup per eight channels of a head moves ranks down in batches, ascending: a batch is read
 * before any of it is written, and the places written are below all that are still to be read.
 */
export const updateContext: Kernel<Opcode.UpdateContext> = {
  name: 'update-context',
  operands: {
    retained: UpdateContext.Retained,
    retained_count: UpdateContext.RetainedCount,
    admitted_count: UpdateContext.AdmittedCount,
    projected: UpdateContext.Projected,
    keys: UpdateContext.Keys,
    values: UpdateContext.Values,
  },
  view: 'words',
  code: `
${PLACES}
var<workgroup> shared_counts: vec2i;
@compute @workgroup_size(${8 * MOVED}) fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let head_stride = u32(word(${UpdateContext.HeadStride}));
  let capacity = u32(word(${UpdateContext.Capacity}));
  let part = u32(word(${UpdateContext.Heads})) * head_stride;
  let head = group.y * head_stride;
  let context = head * capacity;
  if (lane == 0u) { shared_counts = clamp(vec2i(retained_count_i(0), admitted_count_i(0)), vec2i(), vec2i(i32(capacity) - 1)); }
  let counts = vec2u(workgroupUniformLoad(&shared_counts));

  /* of a key, neighbours are eight ranks; of a value, eight channels */
  let key_rank = lane / 64u * 8u + lane % 8u;
  let key_channel = group.x * 8u + lane / 8u % 8u;
  let value_rank = lane / 8u;
  let value_channel = group.x * 8u + lane % 8u;
  for (var first = 0u; first < select(0u, counts.x, retained_given()); first += ${MOVED}u) {
    var key = 0.0;
    var value = 0.0;
    if (first + key_rank < counts.x) { key = keys_f(context + key_place(u32(retained_i(first + key_rank)) + 1u, key_channel, head_stride)); }
    if (first + value_rank < counts.x) { value = values_f(context + value_place(u32(retained_i(first + value_rank)) + 1u, value_channel, capacity)); }
    storageBarrier();
    if (first + key_rank < counts.x) { keys_set_f(context + key_place(first + key_rank + 1u, key_channel, head_stride), key); }
    if (first + value_rank < counts.x) { values_set_f(context + value_place(first + value_rank + 1u, value_channel, capacity), value); }
  }
  for (var first = 0u; first < counts.y; first += ${MOVED}u) {
    let key_row = first + key_rank;
    let value_row = first + value_rank;
    if (key_row < counts.y) {
      keys_set_f(context + key_place(counts.x + key_row + 1u, key_channel, head_stride), projected_f(key_row * 2u * part + head + key_channel));
    }
    if (value_row < counts.y) {
      values_set_f(context + value_place(counts.x + value_row + 1u, value_channel, capacity), projected_f((value_row * 2u + 1u) * part + head + value_channel));
    }
  }
}`,
  workgroups: ({ header, words }) => {
    return [header[DispatchHeader.ClosingRows] ? words[UpdateContext.HeadStride]! / 8 : 0, words[UpdateContext.Heads]!]
  },
}

/** Vectors of a row that a workgroup of `updateContextInputs` moves. */
const MOVED_VECTORS = 8

/** `UpdateContextInputs`: one workgroup per eight vectors of the rows, in batches as above. */
export const updateContextInputs: Kernel<Opcode.UpdateContextInputs> = {
  name: 'update-context-inputs',
  operands: {
    retained: UpdateContextInputs.Retained,
    retained_count: UpdateContextInputs.RetainedCount,
    admitted: UpdateContextInputs.Admitted,
    admitted_count: UpdateContextInputs.AdmittedCount,
    first: UpdateContextInputs.First,
    recent: UpdateContextInputs.Recent,
    inputs: UpdateContextInputs.Inputs,
  },
  view: 'vectors',
  code: `
var<workgroup> shared_counts: vec2i;
@compute @workgroup_size(${MOVED_VECTORS * MOVED}) fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let stride = u32(word(${UpdateContextInputs.Stride}));
  let ring = u32(word(${UpdateContextInputs.Ring}));
  if (lane == 0u) { shared_counts = max(vec2i(retained_count_i(0), admitted_count_i(0)), vec2i()); }
  let counts = vec2u(workgroupUniformLoad(&shared_counts));
  let column = (group.x * ${MOVED_VECTORS}u + lane % ${MOVED_VECTORS}u) * 4u;
  let place = lane / ${MOVED_VECTORS}u;
  let is_column = column < stride;
  for (var start = 0u; start < counts.x; start += ${MOVED}u) {
    let rank = start + place;
    var row = vec4f();
    if (is_column && rank < counts.x) { row = inputs_v(u32(retained_i(rank)) * stride + column); }
    storageBarrier();
    if (is_column && rank < counts.x) { inputs_set_v(rank * stride + column, row); }
  }
  for (var i = place; i < counts.y; i += ${MOVED}u) {
    var row = u32(first_i(0)) + u32(admitted_i(i));
    if (row >= ring) { row -= ring; }
    if (is_column) { inputs_set_v((counts.x + i) * stride + column, recent_v(row * stride + column)); }
  }
}`,
  workgroups: ({ header, words }) => [
    header[DispatchHeader.ClosingRows] ? Math.ceil(words[UpdateContextInputs.Stride]! / (4 * MOVED_VECTORS)) : 0,
  ],
}
