import { laneMask, multiplyAdd, sumLanes } from '../math'
import { count, countOr, floats, operand, word } from '../operands'
import { shareStart } from '../parallel'
import { Norm, Normalise } from '../steps'

/** Σ x² over `width` floats: lane l sums the squares at indices ≡ l (mod 4), ascending; then one tree. */
export function sumOfSquares(x: usize, width: i32): f32 {
  let sum = f32x4.splat(0)
  let i = 0
  for (; i + 4 <= width; i += 4, x += 16) {
    const v = v128.load(x)
    sum = multiplyAdd(v, v, sum)
  }
  if (i < width) {
    const v = v128.and(v128.load(x), laneMask(width - i))
    sum = multiplyAdd(v, v, sum)
  }
  return sumLanes(sum)
}

function sumOf(x: usize, width: i32): f32 {
  let sum = f32x4.splat(0)
  let i = 0
  for (; i + 4 <= width; i += 4, x += 16) sum = f32x4.add(sum, v128.load(x))
  if (i < width) sum = f32x4.add(sum, v128.and(v128.load(x), laneMask(width - i)))
  return sumLanes(sum)
}

/** Stores x - mean, zeros from the width to the stride, and returns the sum of its squares. */
function centre(x: usize, out: usize, width: i32, stride: i32, mean: f32): f32 {
  const means = f32x4.splat(mean)
  let to = out
  for (let i = 0; i < stride; i += 4, x += 16, to += 16) {
    v128.store(to, v128.and(f32x4.sub(v128.load(x), means), laneMask(width - i)))
  }
  return sumOfSquares(out, width)
}

function scaleRow(x: usize, out: usize, stride: i32, scale: f32, weight: usize, bias: usize): void {
  const scales = f32x4.splat(scale)
  for (let i = 0; i < stride; i += 4) {
    let v = f32x4.mul(f32x4.mul(v128.load(x), scales), v128.load(weight))
    if (bias) {
      v = f32x4.add(v, v128.load(bias))
      bias += 16
    }
    v128.store(out, v)
    x += 16
    out += 16
    weight += 16
  }
}

/** `Normalise`: rows are shared out. Weights and biases are zero beyond the width, so that padding stays zero. */
export function normalise(step: usize, piece: usize, share: i32, shares: i32): void {
  const rows = count(step, Normalise.Rows, piece)
  const first = countOr(step, Normalise.First, piece, 0)
  const indices = operand(step, Normalise.Indices, piece)
  const input = operand(step, Normalise.Input, piece)
  const output = operand(step, Normalise.Output, piece)
  const weight = operand(step, Normalise.Weight, piece)
  const bias = operand(step, Normalise.Bias, piece)
  const kind = word(step, Normalise.Kind)
  const width = word(step, Normalise.Width)
  const stride = word(step, Normalise.Stride)
  const end = shareStart(rows, share + 1, shares)
  for (let row = shareStart(rows, share, shares); row < end; ++row) {
    const x = input + floats(first + (indices ? load<i32>(indices + floats(row)) : row)) * stride
    const out = output + floats(row) * stride
    if (kind == Norm.RootMeanSquare) {
      const norm = sqrt<f32>(sumOfSquares(x, width))
      scaleRow(x, out, stride, sqrt<f32>(<f32>width) / max<f32>(norm, 1e-12), weight, 0)
    } else if (kind == Norm.Layer) {
      const mean = sumOf(x, width) / <f32>width
      const variance = centre(x, out, width, stride, mean) / <f32>width
      scaleRow(out, out, stride, 1 / sqrt<f32>(variance + 1e-5), weight, bias)
    } else {
      memory.copy(out, x, floats(stride))
    }
  }
}
