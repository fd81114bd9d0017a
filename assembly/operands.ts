import { Piece } from './steps'

/** A word of a step or of the piece header. */
// @ts-ignore: decorator
@inline
export function word(base: usize, index: i32): i32 {
  return load<i32>(base + ((<usize>index) << 2))
}

/** A word that holds a float. */
// @ts-ignore: decorator
@inline
export function floatWord(base: usize, index: i32): f32 {
  return load<f32>(base + ((<usize>index) << 2))
}

/** Where a buffer begins in this piece. */
// @ts-ignore: decorator
@inline
export function bufferAddress(piece: usize, buffer: i32): usize {
  return load<u32>(piece + (Piece.Buffers << 2) + ((<usize>buffer) << 2))
}

/** The address that an operand of a step has in this piece; 0 for none. */
// @ts-ignore: decorator
@inline
export function operand(step: usize, index: i32, piece: usize): usize {
  const at = step + ((<usize>index) << 2)
  return bufferAddress(piece, load<i32>(at)) + load<u32>(at, 4)
}

/** The integer that an operand points to. */
// @ts-ignore: decorator
@inline
export function count(step: usize, index: i32, piece: usize): i32 {
  return load<i32>(operand(step, index, piece))
}

/** The integer that an operand points to, or `otherwise` where there is none. */
// @ts-ignore: decorator
@inline
export function countOr(step: usize, index: i32, piece: usize, otherwise: i32): i32 {
  const address = operand(step, index, piece)
  return address ? load<i32>(address) : otherwise
}

/** Bytes of `count` floats. */
// @ts-ignore: decorator
@inline
export function floats(count: i32): usize {
  return (<usize>count) << 2
}
