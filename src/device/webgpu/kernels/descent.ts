import { Descent } from '../../../../assembly/steps.js'
import { EXP, LOG } from './math.js'
import { REDUCTIONS, WIDTH } from './workgroup.js'

/**
 * Coordinate descent over one row (SPEC section 4) by a workgroup: only the scalar a is carried from pass to pass, and a pass is one logsumexp of
 * min(s, -a). A kernel defines `similarity_at(i)`.
 *
 * `descend(lane, n, length, k)`: of n similarities, all unmasked, of a row of `length`; returns a and the last eps. The order of the sums follows from n.
 * ln(k / sum), rather than the difference of two logarithms, is as exact as it is small, which it is once the passes have converged.
 *
 * @param words the step's words of the descent
 */
export const descent = (words: number) => `
${EXP}
${LOG}
${REDUCTIONS}
fn exponential_at(i: u32, cap: f32, top: f32, scale: f32) -> f32 { return exp_of((min(similarity_at(i), cap) - top) * scale); }
fn sum_of_exponentials(lane: u32, n: u32, cap: f32, top: f32, scale: f32) -> f32 {
  var sums = vec4f();
  var i = lane;
  for (; i + ${3 * WIDTH}u < n; i += ${4 * WIDTH}u) {
    sums += vec4f(
      exponential_at(i, cap, top, scale),
      exponential_at(i + ${WIDTH}u, cap, top, scale),
      exponential_at(i + ${2 * WIDTH}u, cap, top, scale),
      exponential_at(i + ${3 * WIDTH}u, cap, top, scale),
    );
  }
  for (; i < n; i += ${WIDTH}u) { sums.x += exponential_at(i, cap, top, scale); }
  return sum_of_all(lane, (sums.x + sums.y) + (sums.z + sums.w));
}

var<workgroup> descended: vec2f;
fn descend(lane: u32, n: u32, length: u32, k: u32) -> vec2f {
  let least = float_word(${words + Descent.Eps});
  let decay = float_word(${words + Descent.EpsDecay});
  let wanted = min(f32(k) * float_word(${words + Descent.FetchRatio}), f32(length));
  var largest = similarity_at(0u);
  for (var i = lane; i < n; i += ${WIDTH}u) { largest = max(largest, similarity_at(i)); }
  largest = largest_of_all(lane, largest);
  var eps = max(float_word(${words + Descent.EpsInit}), least);
  var a = eps * log_of(wanted / f32(n));
  eps = max(eps * decay, least);
  for (var left = word(${words + Descent.Iterations}) - 1; left > 0; left--) {
    let top = min(largest, -a);
    let sum = sum_of_exponentials(lane, n, -a, top, 1.0 / eps);
    a = fma(eps, log_of(wanted / sum), -top);
    eps = max(eps * decay, least);
  }
  if (lane == 0u) { descended = vec2f(a, eps); }
  return workgroupUniformLoad(&descended);
}`
