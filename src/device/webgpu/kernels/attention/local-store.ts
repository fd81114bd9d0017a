import { DispatchHeader } from '../../../../../assembly/ir/header.js'
import { LocalStore, type Opcode } from '../../../../../assembly/ir/ops.js'
import type { Kernel } from '../../kernel.js'
import { ROW_WIDTH } from '../wgsl/rows.js'

/*
 * `LocalStore` as two kernels, the first used only if the front is dropped: new keys may go where retained ones still
 * are.
 */

/**
 * Moves the retained part to the front. Each vector moves to the place of the one `LocalDrop` keys earlier: one
 * invocation moves all vectors of such a sequence, in order, so that invocations do not conflict.
 */
export const dropFront: Kernel<Opcode.LocalStore> = {
  name: 'drop-front',
  operands: { keys: LocalStore.Keys, values: LocalStore.Values },
  view: 'vectors',
  code: `
@compute @workgroup_size(${ROW_WIDTH}) fn main(@builtin(global_invocation_id) id: vec3u) {
  let head_stride = u32(word(${LocalStore.HeadStride}));
  let capacity = u32(word(${LocalStore.Capacity}));
  let dropped = u32(header_word(${DispatchHeader.LocalDrop}));
  let kept = u32(header_word(${DispatchHeader.LocalIndex}));
  let head = id.y * head_stride * capacity;
  let i = id.x * 4u;
  if (id.z == 0u) {
    let step = dropped * head_stride;
    if (i >= step) { return; }
    for (var at = i; at < (kept + 7u) / 8u * 8u * head_stride; at += step) { keys_set_v(head + at, keys_v(head + at + step)); }
  } else {
    let step = dropped * 8u;
    let panel = i / step;
    if (panel >= head_stride / 8u) { return; }
    let first = head + panel * capacity * 8u;
    for (var at = i % step; at < kept * 8u; at += step) { values_set_v(first + at, values_v(first + at + step)); }
  }
}`,
  workgroups: ({ header, words }) => {
    const vectors = (header[DispatchHeader.LocalDrop]! * words[LocalStore.HeadStride]!) / 4
    return [Math.ceil(vectors / ROW_WIDTH), words[LocalStore.Heads]!, header[DispatchHeader.LocalIndex]! > 0 ? 2 : 0]
  },
}

/**
 * One workgroup per head and panel of eight keys: neighbouring invocations handle neighbouring keys, or channels of a
 * value.
 */
export const storeLocal: Kernel<Opcode.LocalStore> = {
  name: 'store-local',
  operands: { projected: LocalStore.Projected, table: LocalStore.Table, keys: LocalStore.Keys, values: LocalStore.Values },
  view: 'words',
  code: `
@compute @workgroup_size(${ROW_WIDTH}) fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let rows = header_word(${DispatchHeader.Rows});
  let index = header_word(${DispatchHeader.LocalIndex});
  let stride = u32(word(${LocalStore.Stride}));
  let width = u32(word(${LocalStore.HeadWidth}));
  let half = width / 2u;
  let head_stride = u32(word(${LocalStore.HeadStride}));
  let capacity = u32(word(${LocalStore.Capacity}));
  let part = u32(word(${LocalStore.Heads})) * head_stride;
  let panel = index / 8 + i32(group.x);
  let head = group.y * head_stride;

  let row = panel * 8 + i32(lane % 8u) - index;
  if (row >= 0 && row < rows) {
    let query = u32(row) * stride + head;
    let key = query + part;
    let place = (head * capacity + u32(panel) * head_stride * 8u) + lane % 8u;
    let table = u32(row) * 2u * width;
    for (var j = lane / 8u; j < half; j += ${ROW_WIDTH / 8}u) {
      let cosine = vec2f(table_f(table + j), table_f(table + half + j));
      let sine = vec2f(table_f(table + width + j), table_f(table + width + half + j));
      let qa = projected_f(query + j);
      let qb = projected_f(query + half + j);
      projected_set_f(query + j, fma(qa, cosine.x, -(qb * sine.x)));
      projected_set_f(query + half + j, fma(qb, cosine.y, qa * sine.y));
      let ka = projected_f(key + j);
      let kb = projected_f(key + half + j);
      keys_set_f(place + j * 8u, fma(ka, cosine.x, -(kb * sine.x)));
      keys_set_f(place + (half + j) * 8u, fma(kb, cosine.y, ka * sine.y));
    }
    for (var j = width + lane / 8u; j < head_stride; j += ${ROW_WIDTH / 8}u) { keys_set_f(place + j * 8u, projected_f(key + j)); }
  }

  let value_row = panel * 8 + i32(lane / 8u) - index;
  if (value_row >= 0 && value_row < rows) {
    let value = u32(value_row) * stride + 2u * part + head + lane % 8u;
    let place = head * capacity + u32(index + value_row) * 8u + lane % 8u;
    for (var channel = 0u; channel < head_stride; channel += 8u) { values_set_f(place + channel * capacity, projected_f(value + channel)); }
  }
}`,
  workgroups: ({ header, words }) => {
    const index = header[DispatchHeader.LocalIndex]!
    const rows = header[DispatchHeader.Rows]!
    return [rows === 0 ? 0 : Math.floor((index + rows - 1) / 8) - Math.floor(index / 8) + 1, words[LocalStore.Heads]!]
  },
}
