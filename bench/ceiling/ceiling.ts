/*
 * What the processor can do at most: arithmetic that touches no memory, and memory that is only added up.
 */

function multiplyAdd(a: v128, b: v128, c: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? f32x4.relaxed_madd(a, b, c) : f32x4.add(f32x4.mul(a, b), c)
}

/**
 * Twelve chains x <- x * factor + term, in registers: enough to hide the latency of a multiply-add on two pipes. With 0
 * < factor < 1 they settle at term / (1 - factor), a normal number; neither is known when this is compiled.
 */
export function multiplyAdds(iterations: i32, factor: f32, term: f32): f32 {
  const f = f32x4.splat(factor)
  const t = f32x4.splat(term)
  let x0 = f32x4.splat(term)
  let x1 = f32x4.add(x0, t)
  let x2 = f32x4.add(x1, t)
  let x3 = f32x4.add(x2, t)
  let x4 = f32x4.add(x3, t)
  let x5 = f32x4.add(x4, t)
  let x6 = f32x4.add(x5, t)
  let x7 = f32x4.add(x6, t)
  let x8 = f32x4.add(x7, t)
  let x9 = f32x4.add(x8, t)
  let x10 = f32x4.add(x9, t)
  let x11 = f32x4.add(x10, t)
  for (; iterations > 0; --iterations) {
    x0 = multiplyAdd(x0, f, t)
    x1 = multiplyAdd(x1, f, t)
    x2 = multiplyAdd(x2, f, t)
    x3 = multiplyAdd(x3, f, t)
    x4 = multiplyAdd(x4, f, t)
    x5 = multiplyAdd(x5, f, t)
    x6 = multiplyAdd(x6, f, t)
    x7 = multiplyAdd(x7, f, t)
    x8 = multiplyAdd(x8, f, t)
    x9 = multiplyAdd(x9, f, t)
    x10 = multiplyAdd(x10, f, t)
    x11 = multiplyAdd(x11, f, t)
  }
  x0 = f32x4.add(f32x4.add(f32x4.add(x0, x1), f32x4.add(x2, x3)), f32x4.add(f32x4.add(x4, x5), f32x4.add(x6, x7)))
  x0 = f32x4.add(x0, f32x4.add(f32x4.add(x8, x9), f32x4.add(x10, x11)))
  return f32x4.extract_lane(x0, 0)
}

/** The sum of `byteLength` bytes of floats (a multiple of 128). */
export function sum(address: usize, byteLength: usize): f32 {
  const end = address + byteLength
  let s0 = f32x4.splat(0)
  let s1 = s0
  let s2 = s0
  let s3 = s0
  let s4 = s0
  let s5 = s0
  let s6 = s0
  let s7 = s0
  for (; address < end; address += 128) {
    s0 = f32x4.add(s0, v128.load(address))
    s1 = f32x4.add(s1, v128.load(address, 16))
    s2 = f32x4.add(s2, v128.load(address, 32))
    s3 = f32x4.add(s3, v128.load(address, 48))
    s4 = f32x4.add(s4, v128.load(address, 64))
    s5 = f32x4.add(s5, v128.load(address, 80))
    s6 = f32x4.add(s6, v128.load(address, 96))
    s7 = f32x4.add(s7, v128.load(address, 112))
  }
  s0 = f32x4.add(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)), f32x4.add(f32x4.add(s4, s5), f32x4.add(s6, s7)))
  return f32x4.extract_lane(s0, 0) + f32x4.extract_lane(s0, 1) + f32x4.extract_lane(s0, 2) + f32x4.extract_lane(s0, 3)
}
