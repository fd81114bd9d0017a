import { storeCosineSine, storeTwoCosinesSines } from '../math'
import { count, floats, operand, word } from '../operands'
import { shareStart } from '../parallel'
import { Rotate, RotaryFromAngles, RotaryFromPositions } from '../steps'

/** `RotaryFromPositions`: each angle from its own position, in float64, so that position 10,000,000 is as exact as 10. */
export function rotaryFromPositions(step: usize, piece: usize, share: i32, shares: i32): void {
  const rows = count(step, RotaryFromPositions.Rows, piece)
  const start = operand(step, RotaryFromPositions.Position, piece)
  const indices = operand(step, RotaryFromPositions.Indices, piece)
  const frequencies = operand(step, RotaryFromPositions.Frequencies, piece)
  const width = word(step, RotaryFromPositions.Width)
  const output = operand(step, RotaryFromPositions.Output, piece)
  const end = shareStart(rows, share + 1, shares)
  for (let row = shareStart(rows, share, shares); row < end; ++row) {
    const position = indices ? <f64>load<i32>(indices + floats(row)) : load<f64>(start) + <f64>row
    positionRow(position, frequencies, output + floats(row * 2) * width, width >> 1)
  }
}

/** One row of the table: [cos, cos again][sin, sin again], each `half` wide. */
function positionRow(position: f64, frequencies: usize, row: usize, half: i32): void {
  const size = floats(half)
  const positions = f64x2.splat(position)
  let j = 0
  for (; j + 2 <= half; j += 2) {
    const at = row + floats(j)
    storeTwoCosinesSines(f64x2.mul(positions, v128.load(frequencies + ((<usize>j) << 3))), at, at + 2 * size)
  }
  if (j < half) {
    const at = row + floats(j)
    storeCosineSine(position * load<f64>(frequencies + ((<usize>j) << 3)), at, at + 2 * size)
  }
  memory.copy(row + size, row, size)
  memory.copy(row + 3 * size, row + 2 * size, size)
}

/** `RotaryFromAngles`. */
export function rotaryFromAngles(step: usize, piece: usize, share: i32, shares: i32): void {
  const rows = count(step, RotaryFromAngles.Rows, piece)
  const start = operand(step, RotaryFromAngles.Position, piece)
  const indices = operand(step, RotaryFromAngles.Indices, piece)
  const width = word(step, RotaryFromAngles.Width)
  const angles = operand(step, RotaryFromAngles.Angles, piece)
  const output = operand(step, RotaryFromAngles.Output, piece)
  const end = shareStart(rows, share + 1, shares)
  for (let row = shareStart(rows, share, shares); row < end; ++row) {
    const position = indices ? load<i32>(indices + floats(row)) : <i32>load<f64>(start) + row
    angleRow(angles + floats(position) * width, output + floats(row * 2) * width, width)
  }
}

function angleRow(angles: usize, row: usize, width: i32): void {
  let j = 0
  for (; j + 2 <= width; j += 2) {
    const at = row + floats(j)
    storeTwoCosinesSines(f64x2.promote_low_f32x4(v128.load64_zero(angles + floats(j))), at, at + floats(width))
  }
  if (j < width) {
    const at = row + floats(j)
    storeCosineSine(<f64>load<f32>(angles + floats(j)), at, at + floats(width))
  }
}

/**
 * Rotates one head in place: (a, b) → (a·cos - b·sin, b·cos + a·sin), a and b its halves. Products and sums are rounded one by one in either
 * build, so the scalar tail of a half that is no multiple of 4 has the vectors' bits.
 */
export function rotateHead(x: usize, cosine: usize, sine: usize, width: i32): void {
  const half = floats(width >> 1)
  let j: usize = 0
  for (; j + 16 <= half; j += 16) {
    const a = v128.load(x + j)
    const b = v128.load(x + half + j)
    v128.store(x + j, f32x4.sub(f32x4.mul(a, v128.load(cosine + j)), f32x4.mul(b, v128.load(sine + j))))
    v128.store(x + half + j, f32x4.add(f32x4.mul(b, v128.load(cosine + half + j)), f32x4.mul(a, v128.load(sine + half + j))))
  }
  for (; j < half; j += 4) {
    const a = load<f32>(x + j)
    const b = load<f32>(x + half + j)
    store<f32>(x + j, a * load<f32>(cosine + j) - b * load<f32>(sine + j))
    store<f32>(x + half + j, b * load<f32>(cosine + half + j) + a * load<f32>(sine + half + j))
  }
}

/** `Rotate`: heads are shared out. */
export function rotate(step: usize, piece: usize, share: i32, shares: i32): void {
  const rows = count(step, Rotate.Rows, piece)
  const values = operand(step, Rotate.Values, piece)
  const table = operand(step, Rotate.Table, piece)
  const indices = operand(step, Rotate.Indices, piece)
  const stride = floats(word(step, Rotate.Stride))
  const heads = word(step, Rotate.Heads)
  const width = word(step, Rotate.HeadWidth)
  const headStride = floats(word(step, Rotate.HeadStride))
  const angleStride = floats(word(step, Rotate.AngleStride))
  const tableWidth = floats(word(step, Rotate.TableWidth))
  const first = shareStart(heads, share, shares)
  const end = shareStart(heads, share + 1, shares)
  for (let row = 0; row < rows; ++row) {
    let x = values + <usize>row * stride + <usize>first * headStride
    let cosine = table + <usize>(indices ? load<i32>(indices + floats(row)) : row) * 2 * tableWidth + <usize>first * angleStride
    for (let head = first; head < end; ++head) {
      rotateHead(x, cosine, cosine + tableWidth, width)
      x += headStride
      cosine += angleStride
    }
  }
}
