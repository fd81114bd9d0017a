import { DispatchHeader } from '../../../../../assembly/ir/header.js'
import { ListQueries, type Opcode, RouterScores } from '../../../../../assembly/ir/ops.js'
import type { Kernel } from '../../kernel.js'
import { withCollectives } from '../wgsl/collectives.js'
import { ROW_SUM, ROW_WIDTH, UNIFORM } from '../wgsl/rows.js'
import { BLOCK, CHUNK, MARKS, OFFSETS, WIDTH } from '../wgsl/workgroup.js'

/**
 * `RouterScores`: one workgroup per row, so that a norm is summed in the same order wherever a token is. Adding +0
 * turns -0 into +0, so that zeros tie.
 */
export const routerScores: Kernel<Opcode.RouterScores> = {
  name: 'routerScores',
  operands: {
    count: RouterScores.Rows,
    first: RouterScores.First,
    input: RouterScores.Input,
    products: RouterScores.Products,
    queries: RouterScores.Queries,
    key_values: RouterScores.KeyValues,
  },
  view: 'words',
  code: `
${UNIFORM}
${ROW_SUM}
@compute @workgroup_size(${ROW_WIDTH}) fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = group.x;
  if (row >= u32(uniform_of(lane, count_i(0)))) { return; }
  let first = u32(select(0, first_i(0), first_given()));
  let experts = u32(word(${RouterScores.Experts}));
  let capacity = u32(word(${RouterScores.Capacity}));
  var factor = 1.0;
  if (word(${RouterScores.Cosine}) != 0) {
    let start = row * u32(word(${RouterScores.Stride}));
    var squares = 0.0;
    for (var i = lane; i < u32(word(${RouterScores.Width})); i += ${ROW_WIDTH}u) { let x = input_f(start + i); squares = fma(x, x, squares); }
    factor = float_word(${RouterScores.Scale}) / max(sqrt(sum_over_row(lane, squares)), 1e-12);
  }
  let product = row * u32(word(${RouterScores.ProductStride}));
  for (var expert = lane; expert < experts; expert += ${ROW_WIDTH}u) {
    let at = expert * capacity + first + row;
    queries_set_f(at, products_f(product + expert) * factor + 0.0);
    key_values_set_f(at, products_f(product + experts + expert) * factor + 0.0);
  }
}`,
  workgroups: (op) => [op.rows(RouterScores.Rows)],
}

/**
 * `ListQueries`: one workgroup per expert goes through the rows in batches; each row finds its place among the marked
 * ones.
 */
export const listQueries: Kernel<Opcode.ListQueries> = {
  name: 'list-queries',
  operands: {
    count: ListQueries.Rows,
    first: ListQueries.First,
    query_mask: ListQueries.QueryMask,
    scores: ListQueries.Scores,
    lists: ListQueries.Lists,
    slots: ListQueries.Slots,
    counts: ListQueries.Counts,
    list_scores: ListQueries.ListScores,
    starts: ListQueries.Starts,
    ends: ListQueries.Ends,
  },
  view: 'words',
  ...withCollectives(`
${MARKS}
@compute @workgroup_size(${WIDTH}) fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) index: u32) {
  let lane = lane_of(index);
  let expert = group.x;
  let rows = u32(select(0, header_word(${DispatchHeader.Rows}), header_word(${DispatchHeader.Routed}) != 0));
  let first_row = u32(select(0, first_i(0), first_given()));
  let row_end = first_row + u32(count_i(0));
  let first_listed = max(first_row, u32(header_word(${DispatchHeader.Unrouted})));
  let windows = max(1u, u32(header_word(${DispatchHeader.Windows})));
  let size = max(1u, u32(word(${ListQueries.WindowSize})));
  let source = expert * u32(word(${ListQueries.Capacity})) + u32(header_word(${DispatchHeader.Position}));
  let list = expert * u32(word(${ListQueries.RowCapacity}));
  let first_start = expert * u32(word(${ListQueries.StartCapacity}));
  if (starts_given()) {
    for (var z = lane; z < windows; z += ${WIDTH}u) {
      if (expert == 0u) { ends_set_i(z, min(word(${ListQueries.KeyValues}), (header_word(${DispatchHeader.Window}) + i32(z)) * word(${ListQueries.WindowSize}))); }
      if (rows == 0u) { starts_set_i(first_start + z, 0); }
    }
  }
  var listed = 0u;
  for (var chunk = 0u; chunk < rows; chunk += ${CHUNK}u) {
    let end = min(${CHUNK}u, rows - chunk);
    clear_marks(lane);
    for (var at = lane; at < end; at += ${BLOCK}u) {
      // four reads under way at once
      let places = vec4u(at) + ${OFFSETS};
      var found = vec4i();
      for (var i = 0u; i < 4u; i++) { found[i] = query_mask_i(source + min(chunk + places[i], rows - 1u)); }
      for (var i = 0u; i < 4u; i++) {
        let row = chunk + places[i];
        if (places[i] < end && row >= first_listed && row < row_end && found[i] != 0) { mark(places[i], 0u); }
      }
    }
    let counts = count_marks(lane);
    for (var at = lane; at < end; at += ${WIDTH}u) {
      let row = chunk + at;
      let is_query = is_marked(at, 0u);
      let place = listed + marks_before(at).x;
      if (starts_given() && row % size == 0u) { starts_set_i(first_start + row / size, i32(place)); }
      slots_set_i(list + row, select(-1, i32(place), is_query));
      if (is_query) {
        lists_set_i(list + place, i32(row));
        list_scores_set_f(list + place, scores_f(source + row));
      }
    }
    listed += counts.x;
  }
  if (lane == 0u) {
    counts_set_i(expert, i32(listed));
    if (starts_given()) { starts_set_i(first_start + windows, i32(listed)); }
  }
}`),
  workgroups: ({ words }) => [words[ListQueries.Experts]!],
}
