import { storeCosineSine, storeTwoCosinesSines } from '../math/cosine-sine'
import { count, countOr, floats, headerOfRow, operand, sequenceHeaders, word } from '../operands'
import { partitionStart } from '../parallel'
import { RotaryFromAngles, RotaryFromPositions, Rotate } from '../ir/ops'

/**
 * `RotaryFromPositions`: each angle is computed from its own position in float64, so that position 10,000,000 is as
 * exact as 10.
 */
export function rotaryFromPositions(op: usize, header: usize, partition: i32, partitions: i32): void {
  const rows = count(op, RotaryFromPositions.Rows, header)
  const start = operand(op, RotaryFromPositions.Position, header)
  const indices = operand(op, RotaryFromPositions.Indices, header)
  const positions = operand(op, RotaryFromPositions.Positions, header)
  const first = countOr(op, RotaryFromPositions.First, header, 0)
  const frequencies = operand(op, RotaryFromPositions.Frequencies, header)
  const width = word(op, RotaryFromPositions.Width)
  const output = operand(op, RotaryFromPositions.Output, header)
  const sequences = sequenceHeaders(header)
  const end = partitionStart(rows, partition + 1, partitions)
  for (let row = partitionStart(rows, partition, partitions); row < end; ++row) {
    const position = positions
      ? <f64>load<i64>(positions + 2 * floats(first + row))
      : indices
        ? <f64>load<i32>(indices + floats(row))
        : sequences
          ? load<f64>(operand(op, RotaryFromPositions.Position, headerOfRow(header, sequences, row)))
          : load<f64>(start) + <f64>row
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
export function rotaryFromAngles(op: usize, header: usize, partition: i32, partitions: i32): void {
  const rows = count(op, RotaryFromAngles.Rows, header)
  const start = operand(op, RotaryFromAngles.Position, header)
  const indices = operand(op, RotaryFromAngles.Indices, header)
  const width = word(op, RotaryFromAngles.Width)
  const angles = operand(op, RotaryFromAngles.Angles, header)
  const output = operand(op, RotaryFromAngles.Output, header)
  const end = partitionStart(rows, partition + 1, partitions)
  for (let row = partitionStart(rows, partition, partitions); row < end; ++row) {
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
 * Rotates one head in place: (a, b) → (a·cos - b·sin, b·cos + a·sin), where a and b are its halves. Products and sums
 * are rounded separately in either build, so the scalar tail of a half that is not a multiple of 4 gives the same bits
 * as the vectors.
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

/** `Rotate`: split by heads. */
export function rotate(op: usize, header: usize, partition: i32, partitions: i32): void {
  const rows = count(op, Rotate.Rows, header)
  const values = operand(op, Rotate.Values, header)
  const table = operand(op, Rotate.Table, header)
  const indices = operand(op, Rotate.Indices, header)
  const stride = floats(word(op, Rotate.Stride))
  const heads = word(op, Rotate.Heads)
  const width = word(op, Rotate.HeadWidth)
  const headStride = floats(word(op, Rotate.HeadStride))
  const angleStride = floats(word(op, Rotate.AngleStride))
  const tableWidth = floats(word(op, Rotate.TableWidth))
  const first = partitionStart(heads, partition, partitions)
  const end = partitionStart(heads, partition + 1, partitions)
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
