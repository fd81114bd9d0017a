import { WeightFormat } from '../../../../../assembly/ir/values.js'

/**
 * Widens four 16-bit floats, two per word, exactly, with integer arithmetic: unlike `unpack2x16float` and the types of
 * `shader-f16`, this needs no adapter feature and never flushes subnormals. Float16 values here are never infinity or
 * NaN.
 */
export const WIDEN_WEIGHTS = `
fn halves_of(pair: vec2u) -> vec4u { return vec4u(pair.x & 0xffffu, pair.x >> 16u, pair.y & 0xffffu, pair.y >> 16u); }
fn widen_float16(pair: vec2u) -> vec4f {
  let half = halves_of(pair);
  let fraction = half & vec4u(0x3ffu);
  // the exponents' biases are 127 and 15; subnormals are multiples of 2^-24
  let magnitude = ((half & vec4u(0x7fffu)) << vec4u(13u)) + vec4u(112u << 23u);
  let small = bitcast<vec4u>(vec4f(fraction) * 5.9604644775390625e-8);
  let exact = select(magnitude, small, (half & vec4u(0x7c00u)) == vec4u());
  return bitcast<vec4f>(exact | ((half & vec4u(0x8000u)) << vec4u(16u)));
}
fn widen_bfloat16(pair: vec2u) -> vec4f { return bitcast<vec4f>(halves_of(pair) << vec4u(16u)); }`

/**
 * WGSL that widens four neighbouring weights, in the vector view; needs `WIDEN_WEIGHTS`.
 * @param at index of the first weight, a multiple of 4
 */
export function fourWeights(operand: string, format: WeightFormat, at: string): string {
  switch (format) {
    case WeightFormat.Float32:
      return `${operand}_v(${at})`
    case WeightFormat.Float16:
      return `widen_float16(${operand}_pair((${at}) / 2u))`
    case WeightFormat.Bfloat16:
      return `widen_bfloat16(${operand}_pair((${at}) / 2u))`
    case WeightFormat.Int8:
      throw new Error('plans for a GPU have int8 weights as float32')
  }
}
