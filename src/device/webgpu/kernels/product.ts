import { Activation, Product } from '../../../../assembly/steps.js'
import type { Kernel, StepView } from '../kernel.js'
import { EXP, GELU } from './math.js'

/** `Product`: an invocation for four outputs of a row, each one chain over k, ascending. */
const product: Kernel = {
  name: 'product',
  operands: {
    count: Product.Rows,
    input: Product.Input,
    weights: Product.Weights,
    output: Product.Output,
    bias: Product.Bias,
    add_to: Product.AddTo,
  },
  view: 'vectors',
  code: `
${EXP}
${GELU}
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  let columns = 8u * u32(word(${Product.Panels}));
  let column = id.x * 4u;
  let row = id.y;
  if (column >= columns || row >= u32(count_i(0))) { return; }
  let start = row * u32(word(${Product.InputStride}));
  var sum = vec4f();
  for (var k = 0u; k < u32(word(${Product.Depth})); k++) { sum = fma(vec4f(input_f(start + k)), weights_v(k * columns + column), sum); }
  if (bias_given()) { sum += bias_v(column); }
  if (word(${Product.Activation}) == ${Activation.Gelu}) { sum = vec4f(gelu_of(sum.x), gelu_of(sum.y), gelu_of(sum.z), gelu_of(sum.w)); }
  let at = row * u32(word(${Product.OutputStride})) + column;
  if (add_to_given()) { add_to_set_v(at, add_to_v(at) + sum); } else { output_set_v(at, sum); }
}`,
  workgroups: (step) => [Math.ceil((2 * step.words[Product.Panels]!) / 64), step.rows(Product.Rows, step.words[Product.Limit])],
}

export function chooseProduct(_step: StepView): Kernel {
  return product
}
