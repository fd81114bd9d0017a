import { multiplyAdd } from './math/vectors'

/** 1 if this engine's `multiplyAdd` rounds once: (1 + ε)² - fl((1 + ε)²) is 0 only if the product was rounded first. */
export function fused(): i32 {
  const x = load<f32>(PROBE)
  return f32x4.extract_lane(multiplyAdd(f32x4.splat(x), f32x4.splat(x), f32x4.splat(-(x * x))), 0) != 0 ? 1 : 0
}

/** In memory, so that no compiler evaluates the probe. */
const PROBE: usize = memory.data<f32>([1.00000011920929])
