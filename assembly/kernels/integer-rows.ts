import { word } from '../operands'
import { DispatchHeader } from '../ir/header'
import { INT32_COLUMNS } from '../ir/sizes'
import { IntegerDot } from '../ir/values'

/*
 * How a row of quantized activations uses its bytes. One plane holds the integers, as int16 or as bytes; where they are
 * too wide for that, two planes hold them divided by 128, rounded down, and the remainders.
 */

/** The `IntegerDot` of an op of so many rows: `QuantizeRows` and the products of its rows agree on it. */
// @ts-ignore: decorator
@inline
export function dotOf(header: usize, rows: i32): IntegerDot {
  return word(header, rows == 1 ? DispatchHeader.RowDot : DispatchHeader.TileDot)
}

/** Whether a row is bytes, 64 more than its values; it is int16 otherwise. */
// @ts-ignore: decorator
@inline
export function isOfBytes(dot: IntegerDot): bool {
  return dot != IntegerDot.Int16x2
}

/** Whether rows have two planes: 14 bits fit in no byte, and from `INT32_COLUMNS` on overflow sums in int32. */
// @ts-ignore: decorator
@inline
export function hasTwoPlanes(dot: IntegerDot, bits: i32, depth: i32): bool {
  return bits == 14 && (isOfBytes(dot) || depth > INT32_COLUMNS)
}

/** Bytes of a plane: whole vectors of eight values, of which those past `depth` are 0. */
// @ts-ignore: decorator
@inline
export function planeBytes(dot: IntegerDot, depth: i32): usize {
  const columns = <usize>((depth + 7) & ~7)
  return isOfBytes(dot) ? columns : columns << 1
}
