import { WeightFormat } from './ir/values'

/**
 * float16 to float32, exactly, including infinity and NaN: after shifting to float32's bit positions the exponent is
 * 112 too small, and float16's largest exponent becomes float32's.
 */
// @ts-ignore: decorator
@inline
function widenHalf(half: u32): f32 {
  const magnitude = (half & 0x7fff) << 13
  const value: f32 = magnitude >= 0x0f800000 ? reinterpret<f32>(magnitude | 0x7f800000) : reinterpret<f32>(magnitude) * 5.192296858534828e33
  return reinterpret<f32>(reinterpret<u32>(value) | ((half & 0x8000) << 16))
}

// @ts-ignore: decorator
@inline
function readFloat(source: usize, format: WeightFormat): f32 {
  if (format == WeightFormat.Float32) return load<f32>(source)
  const bits = <u32>load<u16>(source)
  return format == WeightFormat.Float16 ? widenHalf(bits) : reinterpret<f32>(bits << 16)
}

function copyWords(source: usize, count: i32, target: usize, step: usize): void {
  for (; count > 0; --count, source += 4, target += step) store<f32>(target, load<f32>(source))
}

function copyHalves(source: usize, count: i32, target: usize, step: usize): void {
  for (; count > 0; --count, source += 2, target += step) store<u16>(target, load<u16>(source))
}

function widenFloat16(source: usize, count: i32, target: usize, step: usize): void {
  for (; count > 0; --count, source += 2, target += step) store<f32>(target, widenHalf(load<u16>(source)))
}

function widenBfloat16(source: usize, count: i32, target: usize, step: usize): void {
  for (; count > 0; --count, source += 2, target += step) store<u32>(target, (<u32>load<u16>(source)) << 16)
}

function copyBytes(source: usize, count: i32, target: usize, step: usize): void {
  for (; count > 0; --count, ++source, target += step) store<u8>(target, load<u8>(source))
}

// @ts-ignore: decorator
@inline
function bytesOf(format: WeightFormat): usize {
  return format == WeightFormat.Float32 ? 4 : format == WeightFormat.Int8 ? 1 : 2
}

/** 1 / ‖x‖₂ in float64, the norm being at least 1e-12. */
function reciprocalNorm(source: usize, format: WeightFormat, count: i32, size: usize): f64 {
  let sum: f64 = 0
  for (; count > 0; --count, source += size) {
    const x = <f64>readFloat(source, format)
    sum += x * x
  }
  return 1 / max<f64>(sqrt<f64>(sum), 1e-12)
}

function scale(target: usize, count: i32, step: usize, factor: f64): void {
  for (; count > 0; --count, target += step) store<f32>(target, <f32>(<f64>load<f32>(target) * factor))
}

/**
 * Packs `rows` rows of `groups` × `size` values, row-major at `source`, into a device's weight layout: value (row,
 * group, i) becomes element row · rowStep + (group · stride + i) · step after `target`. The packed format is the
 * source's, or float32; `normalised` rows, in float32, are divided by their norm.
 */
export function pack(
  source: usize,
  format: WeightFormat,
  rows: i32,
  groups: i32,
  size: i32,
  stride: i32,
  target: usize,
  packed: WeightFormat,
  rowStep: i32,
  step: i32,
  normalised: bool,
): void {
  const sourceSize = bytesOf(format)
  const targetSize = bytesOf(packed)
  assert(packed == format || packed == WeightFormat.Float32, 'pack: a format that is not the source’s')
  assert(!normalised || packed == WeightFormat.Float32, 'pack: only float32 is normalised')
  assert(format != WeightFormat.Int8 || packed == WeightFormat.Int8, 'pack: int8 is not widened')
  const stepBytes = <usize>step * targetSize
  for (let row = 0; row < rows; ++row) {
    const factor: f64 = normalised ? reciprocalNorm(source, format, groups * size, sourceSize) : 1
    for (let group = 0; group < groups; ++group) {
      const to = target + <usize>(row * rowStep) * targetSize + <usize>(group * stride) * stepBytes
      if (packed == WeightFormat.Int8) copyBytes(source, size, to, stepBytes)
      else if (packed != WeightFormat.Float32) copyHalves(source, size, to, stepBytes)
      else if (format == WeightFormat.Float32) copyWords(source, size, to, stepBytes)
      else if (format == WeightFormat.Float16) widenFloat16(source, size, to, stepBytes)
      else widenBfloat16(source, size, to, stepBytes)
      if (normalised) scale(to, size, stepBytes, factor)
      source += <usize>size * sourceSize
    }
  }
}

/**
 * Packs `rows` int8 rows of `groups` × `size` values, row-major at `source`, side by side into a group of panels with
 * `width` outputs, [input / 4][width][4] with groups `stride` inputs apart, the first row's at `target`; and their sums
 * (int32) at `sums`.
 */
export function packInt8(source: usize, rows: i32, groups: i32, size: i32, stride: i32, target: usize, width: i32, sums: usize): void {
  const step = (<usize>width) << 2
  for (let row = 0; row < rows; ++row, target += 4, sums += 4) {
    let sum = 0
    for (let group = 0; group < groups; ++group) {
      const first = group * stride
      for (let i = 0; i < size; ++i, ++source) {
        const value = <i32>load<i8>(source)
        const input = first + i
        sum += value
        store<i8>(target + <usize>(input >> 2) * step + <usize>(input & 3), <i8>value)
      }
    }
    store<i32>(sums, sum)
  }
}
