import { BufferIndex, DispatchHeader } from './ir/header'

/** A word of an op or of the dispatch header. */
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

/** Base address of a buffer in this dispatch. */
// @ts-ignore: decorator
@inline
export function bufferAddress(header: usize, buffer: i32): usize {
  return load<u32>(header + (DispatchHeader.Buffers << 2) + ((<usize>buffer) << 2))
}

/** Address of an op's operand in this dispatch; 0 for none. */
// @ts-ignore: decorator
@inline
export function operand(op: usize, index: i32, header: usize): usize {
  const at = op + ((<usize>index) << 2)
  return bufferAddress(header, load<i32>(at)) + load<u32>(at, 4)
}

/** The integer an operand points to. */
// @ts-ignore: decorator
@inline
export function count(op: usize, index: i32, header: usize): i32 {
  return load<i32>(operand(op, index, header))
}

/** The integer an operand points to, or `otherwise` if there is none. */
// @ts-ignore: decorator
@inline
export function countOr(op: usize, index: i32, header: usize, otherwise: i32): i32 {
  const address = operand(op, index, header)
  return address ? load<i32>(address) : otherwise
}

/** Headers of the dispatch's sequences, if it has one token of each of several; otherwise 0. */
// @ts-ignore: decorator
@inline
export function sequenceHeaders(header: usize): usize {
  return bufferAddress(header, BufferIndex.Sequences)
}

/** The header of the sequence that a row belongs to, given `sequenceHeaders`. */
// @ts-ignore: decorator
@inline
export function headerOfRow(header: usize, sequences: usize, row: i32): usize {
  return sequences ? sequences + <usize>row * ((<usize>DispatchHeader.Length) << 2) : header
}

/** Bytes of `count` floats. */
// @ts-ignore: decorator
@inline
export function floats(count: i32): usize {
  return (<usize>count) << 2
}
