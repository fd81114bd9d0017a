import { Normalise, type Opcode } from '../../../../assembly/ir/ops.js'
import { Norm } from '../../../../assembly/ir/values.js'
import type { Kernel } from '../kernel.js'
import { ROW_SUM, ROW_WIDTH, UNIFORM } from './wgsl/rows.js'

/** `Normalise`: one workgroup per row. */
export const normalise: Kernel<Opcode.Normalise> = {
  name: 'normalise',
  operands: {
    count: Normalise.Rows,
    first: Normalise.First,
    indices: Normalise.Indices,
    input: Normalise.Input,
    output: Normalise.Output,
    weight: Normalise.Weight,
    bias: Normalise.Bias,
  },
  view: 'vectors',
  code: `
${UNIFORM}
${ROW_SUM}
fn real(values: vec4f, column: u32, width: u32) -> vec4f {
  return select(vec4f(), values, vec4u(column) + vec4u(0, 1, 2, 3) < vec4u(width));
}
@compute @workgroup_size(${ROW_WIDTH}) fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = group.x;
  if (row >= u32(uniform_of(lane, count_i(0)))) { return; }
  let kind = word(${Normalise.Kind});
  let width = u32(word(${Normalise.Width}));
  let stride = u32(word(${Normalise.Stride}));
  let first = u32(select(0, first_i(0), first_given()));
  var source = row;
  if (indices_given()) { source = u32(indices_i(row)); }
  source += first;
  let ring = u32(word(${Normalise.Ring}));
  if (ring > 0u && source >= ring) { source -= ring; }
  let start = source * stride;
  var shift = 0.0;
  if (kind == ${Norm.Layer}) {
    var sums = vec4f();
    for (var i = 4u * lane; i < width; i += ${4 * ROW_WIDTH}u) { sums += real(input_v(start + i), i, width); }
    shift = sum_over_row(lane, (sums.x + sums.y) + (sums.z + sums.w)) / f32(width);
  }
  var scale = 1.0;
  if (kind != ${Norm.None}) {
    var squares = vec4f();
    for (var i = 4u * lane; i < width; i += ${4 * ROW_WIDTH}u) {
      let x = real(input_v(start + i) - shift, i, width);
      squares = fma(x, x, squares);
    }
    let total = sum_over_row(lane, (squares.x + squares.y) + (squares.z + squares.w));
    if (kind == ${Norm.Layer}) { scale = 1.0 / sqrt(total / f32(width) + 1e-5); }
    else { scale = sqrt(f32(width)) / max(sqrt(total), 1e-12); }
  }
  for (var i = 4u * lane; i < stride; i += ${4 * ROW_WIDTH}u) {
    var x = input_v(start + i);
    if (kind != ${Norm.None}) { x = real(x - shift, i, width) * scale * weight_v(i); }
    if (bias_given()) { x += bias_v(i); }
    output_set_v(row * stride + i, x);
  }
}`,
  workgroups: (op) => [op.rows(Normalise.Rows)],
}
