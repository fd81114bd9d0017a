import { exp2Lanes, LOG2_E } from '../math/exp2'
import { floats, word } from '../operands'
import { isStopped, partitionStart } from '../parallel'
import { Descent } from '../ir/ops'
import { largestOf, sumOfExponentials } from './log-sum-exp'

/** State that a descent carries between passes: two f64s at the start of a partition's working memory. */
export enum Carried {
  A = 0,
  Eps = 8,
}

/**
 * Coordinate descent over one row (SPEC section 4): only the scalar a and eps are carried between passes, and a pass is
 * one logsumexp of min(s, -a). `n` router scores, all unmasked, of a row of `length`. Runs slice `slice` of `slices` of the
 * passes, after the preceding ones.
 */
export function descend(
  header: usize,
  s: usize,
  n: i32,
  length: i32,
  k: i32,
  descent: usize,
  carried: usize,
  slice: i32,
  slices: i32,
): void {
  const floor = load<f64>(descent + (Descent.Eps << 2))
  const decay = load<f64>(descent + (Descent.EpsDecay << 2))
  const logK = NativeMath.log(min<f64>(<f64>k * load<f64>(descent + (Descent.FetchRatio << 2)), <f64>length))
  const largest = largestOf(s, n)
  let eps: f64
  let a: f64
  if (slice == 0) {
    eps = max<f64>(load<f64>(descent + (Descent.EpsInit << 2)), floor)
    a = eps * (logK - NativeMath.log(<f64>n))
    eps = max<f64>(eps * decay, floor)
  } else {
    a = load<f64>(carried + Carried.A)
    eps = load<f64>(carried + Carried.Eps)
  }
  // the first pass needs no router scores
  const passes = word(descent, Descent.Iterations) - 1
  for (let left = partitionStart(passes, slice + 1, slices) - partitionStart(passes, slice, slices); left > 0; --left) {
    if (isStopped(header)) return
    const cap = <f32>-a
    const top = min<f32>(largest, cap)
    a = eps * (logK - NativeMath.log(sumOfExponentials(s, n, cap, top, eps))) - <f64>top
    eps = max<f64>(eps * decay, floor)
  }
  store<f64>(carried + Carried.A, a)
  store<f64>(carried + Carried.Eps, eps)
}

/** c = min(s + a, 0), which is compared and, divided by eps, exponentiated. */
export function relax(s: usize, n: i32, a: f32, c: usize): void {
  const shift = f32x4.splat(a)
  const zero = f32x4.splat(0)
  for (let i = 0; i < n; i += 4, s += 16, c += 16) v128.store(c, f32x4.add(f32x4.pmin(f32x4.add(v128.load(s), shift), zero), zero))
}

/** Scores of the selected tokens: exp(min(s + a, 0) / eps). */
export function scoresOf(s: usize, indices: usize, count: i32, a: f32, eps: f64, scores: usize): void {
  for (let i = 0; i < count; ++i) {
    const c = min<f32>(load<f32>(s + floats(load<i32>(indices + floats(i)))) + a, 0)
    store<f32>(scores + floats(i), f32x4.extract_lane(exp2Lanes(f32x4.splat(<f32>((<f64>c * LOG2_E) / eps))), 0))
  }
}
