/* Scans of a model's unpacked bytes, which JavaScript would run in an engine's slow first tier. */

const PRIME_0: i32 = <i32>0x9e3779b1
const PRIME_1: i32 = <i32>0x85ebca77

/** Continues the four lanes of a checksum (`src/model/parameters/checksum.ts`) at `lanes` over blocks of 16 bytes. */
export function mixBlocks(lanes: usize, start: usize, end: usize): void {
  const before = i32x4.splat(PRIME_1)
  const after = i32x4.splat(PRIME_0)
  let lane = v128.load(lanes)
  for (; start < end; start += 16) {
    const mixed = i32x4.add(lane, i32x4.mul(v128.load(start), before))
    lane = i32x4.mul(v128.or(i32x4.shl(mixed, 13), i32x4.shr_u(mixed, 19)), after)
  }
  v128.store(lanes, lane)
}

/** Whether the float16 values from `start` to `end`, whole vectors, contain neither infinity nor NaN. */
export function isFiniteFloat16(start: usize, end: usize): bool {
  const exponent = i16x8.splat(0x7c00)
  let found = i16x8.splat(0)
  for (; start < end; start += 16) found = v128.or(found, i16x8.eq(v128.and(v128.load(start), exponent), exponent))
  return !v128.any_true(found)
}
