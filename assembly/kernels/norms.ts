import { laneMask, multiplyAdd, sumLanes } from '../math/vectors'
import { count, countOr, floats, operand, word } from '../operands'
import { partitionStart } from '../parallel'
import { Normalise } from '../ir/ops'
import { Norm } from '../ir/values'

/**
 * Σ (x - shift)² over `width` floats, in four vectors, since a single one would wait four cycles for each addition.
 * Lane l of vector v sums the indices ≡ 4v + l (mod 16), ascending, the first one also the remainder; then one fixed
 * tree.
 */
export function sumOfSquares(x: usize, width: i32, shift: f32 = 0): f32 {
  const shifts = f32x4.splat(shift)
  let s0 = f32x4.splat(0)
  let s1 = s0
  let s2 = s0
  let s3 = s0
  let left = width
  for (; left >= 16; left -= 16, x += 64) {
    const v0 = f32x4.sub(v128.load(x), shifts)
    s0 = multiplyAdd(v0, v0, s0)
    const v1 = f32x4.sub(v128.load(x, 16), shifts)
    s1 = multiplyAdd(v1, v1, s1)
    const v2 = f32x4.sub(v128.load(x, 32), shifts)
    s2 = multiplyAdd(v2, v2, s2)
    const v3 = f32x4.sub(v128.load(x, 48), shifts)
    s3 = multiplyAdd(v3, v3, s3)
  }
  for (; left > 0; left -= 4, x += 16) {
    const v = v128.and(f32x4.sub(v128.load(x), shifts), laneMask(left))
    s0 = multiplyAdd(v, v, s0)
  }
  return sumLanes(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)))
}

/** Σ x in the same order. */
function sumOf(x: usize, width: i32): f32 {
  let s0 = f32x4.splat(0)
  let s1 = s0
  let s2 = s0
  let s3 = s0
  let left = width
  for (; left >= 16; left -= 16, x += 64) {
    s0 = f32x4.add(s0, v128.load(x))
    s1 = f32x4.add(s1, v128.load(x, 16))
    s2 = f32x4.add(s2, v128.load(x, 32))
    s3 = f32x4.add(s3, v128.load(x, 48))
  }
  for (; left > 0; left -= 4, x += 16) s0 = f32x4.add(s0, v128.and(v128.load(x), laneMask(left)))
  return sumLanes(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)))
}

/** (x - mean) · scale · weight + bias. */
function layerNormRow(x: usize, out: usize, stride: i32, mean: f32, scale: f32, weight: usize, bias: usize): void {
  const means = f32x4.splat(mean)
  const scales = f32x4.splat(scale)
  for (const end = x + floats(stride); x < end; x += 16, out += 16, weight += 16, bias += 16) {
    const v = f32x4.mul(f32x4.mul(f32x4.sub(v128.load(x), means), scales), v128.load(weight))
    v128.store(out, f32x4.add(v, v128.load(bias)))
  }
}

/** x · scale · weight. */
function rmsNormRow(x: usize, out: usize, stride: i32, scale: f32, weight: usize): void {
  const scales = f32x4.splat(scale)
  for (const end = x + floats(stride); x < end; x += 16, out += 16, weight += 16) {
    v128.store(out, f32x4.mul(f32x4.mul(v128.load(x), scales), v128.load(weight)))
  }
}

/** `Normalise`: split by rows. Weights and biases are zero beyond the width, so that padding stays zero. */
export function normalise(op: usize, header: usize, partition: i32, partitions: i32): void {
  const rows = count(op, Normalise.Rows, header)
  const first = countOr(op, Normalise.First, header, 0)
  const indices = operand(op, Normalise.Indices, header)
  const input = operand(op, Normalise.Input, header)
  const output = operand(op, Normalise.Output, header)
  const weight = operand(op, Normalise.Weight, header)
  const bias = operand(op, Normalise.Bias, header)
  const kind = word(op, Normalise.Kind)
  const width = word(op, Normalise.Width)
  const stride = word(op, Normalise.Stride)
  const ring = word(op, Normalise.Ring)
  const end = partitionStart(rows, partition + 1, partitions)
  for (let row = partitionStart(rows, partition, partitions); row < end; ++row) {
    let source = first + (indices ? load<i32>(indices + floats(row)) : row)
    if (ring && source >= ring) source -= ring
    const x = input + floats(source) * stride
    const out = output + floats(row) * stride
    if (kind == Norm.RootMeanSquare) {
      const norm = sqrt<f32>(sumOfSquares(x, width))
      rmsNormRow(x, out, stride, sqrt<f32>(<f32>width) / max<f32>(norm, 1e-12), weight)
    } else if (kind == Norm.Layer) {
      const mean = sumOf(x, width) / <f32>width
      const variance = sumOfSquares(x, width, mean) / <f32>width
      layerNormRow(x, out, stride, mean, 1 / sqrt<f32>(variance + 1e-5), weight, bias)
    } else {
      memory.copy(out, x, floats(stride))
    }
  }
}
