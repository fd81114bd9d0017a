import { Matmul, type Opcode } from '../../../../../assembly/ir/ops.js'
import { Activation, WeightFormat } from '../../../../../assembly/ir/values.js'
import type { Kernel, OpView } from '../../kernel.js'
import { fourWeights, WIDEN_WEIGHTS } from '../wgsl/widen-weights.js'
import { EXP, GELU } from '../wgsl/math.js'
import { chooseProductShape, productOf, type ProductShapeName } from './product-shapes.js'

/**
 * Up to this many columns, a product has one shape whatever its rows. This includes those that router scores are
 * computed from: equal tokens need bit-equal scores at any row and in any batch, even on GPUs that round an `fma` once
 * in one pipeline and twice in another.
 */
const NARROW = 64

/**
 * `Matmul` with tiles of one shape. The row count is shared as in `uniform_of`, in the tile's memory. Bias, activation
 * and addition come after the last k.
 */
function makeProduct(shape: ProductShapeName, format: WeightFormat): Kernel<Opcode.Matmul> {
  const tile = productOf(shape)
  return {
    name: format === WeightFormat.Float32 ? `product-${shape}` : `product-${shape}-${WeightFormat[format].toLowerCase()}`,
    operands: {
      count: Matmul.Rows,
      input: Matmul.Input,
      weights: Matmul.Weights,
      output: Matmul.Output,
      bias: Matmul.Bias,
      add_to: Matmul.AddTo,
    },
    view: 'vectors',
    code: `
${EXP}
${GELU}
${WIDEN_WEIGHTS}
fn depth() -> u32 { return u32(word(${Matmul.Depth})); }
fn columns() -> u32 { return 8u * u32(word(${Matmul.Panels})); }
fn load_a(row: u32, k: u32) -> vec4f { return input_v(row * u32(word(${Matmul.InputStride})) + k); }
fn load_b(k: u32, column: u32) -> vec4f { return ${fourWeights('weights', format, 'k * columns() + column')}; }
fn store_c(row: u32, column: u32, value: vec4f) {
  var x = value;
  if (bias_given()) { x += bias_v(column); }
  if (word(${Matmul.Activation}) == ${Activation.Gelu}) { x = vec4f(gelu_of(x.x), gelu_of(x.y), gelu_of(x.z), gelu_of(x.w)); }
  let at = row * u32(word(${Matmul.OutputStride})) + column;
  if (add_to_given()) { add_to_set_v(at, add_to_v(at) + x); } else { output_set_v(at, x); }
}
${tile.declarations}
@compute @workgroup_size(${tile.threads}) fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) thread: u32) {
  if (thread == 0u) { ${tile.freeVector} = vec4f(f32(count_i(0))); }
  let row_count = u32(workgroupUniformLoad(&${tile.freeVector}).x);
${tile.body.replaceAll('rows()', 'row_count')}
}`,
    workgroups: (op) => [Math.ceil((8 * op.words[Matmul.Panels]!) / tile.columns), Math.ceil(op.rows(Matmul.Rows) / tile.rows)],
  }
}

const kernels = new Map<string, Kernel<Opcode.Matmul>>()

export function chooseProduct(op: OpView): Kernel<Opcode.Matmul> {
  const columns = 8 * op.words[Matmul.Panels]!
  const shape = columns <= NARROW ? 'rows16' : chooseProductShape(op.rows(Matmul.Rows), columns)
  return productKernel(shape, op.words[Matmul.Format])
}

/** Each is generated once, on first use. */
export function productKernel(shape: ProductShapeName, format: WeightFormat = WeightFormat.Float32): Kernel<Opcode.Matmul> {
  const key = `${shape} ${format}`
  let kernel = kernels.get(key)
  if (!kernel) {
    kernel = makeProduct(shape, format)
    kernels.set(key, kernel)
  }
  return kernel
}
