import { Descent } from '../../../../../assembly/ir/ops.js'
import { EXP, LOG } from '../wgsl/math.js'
import { BLOCK, OFFSETS, SUM_OF_ALL } from '../wgsl/workgroup.js'

/**
 * Coordinate descent over one row (SPEC section 4) by a workgroup: only the scalar a is carried between passes, and a
 * pass is one logsumexp of min(s, -a). The kernel must define `router_score_at(i)`; needs `withCollectives`.
 */
export const descent = (words: number) => `
${EXP}
${LOG}
${SUM_OF_ALL}
fn four_router_scores(places: vec4u) -> vec4f {
  return vec4f(router_score_at(places.x), router_score_at(places.y), router_score_at(places.z), router_score_at(places.w));
}
fn sum_of_exponentials(lane: u32, n: u32, cap: f32, top: f32, scale: f32) -> f32 {
  var sums = vec4f();
  for (var i = lane; i < n; i += ${BLOCK}u) {
    let places = i + ${OFFSETS};
    let terms = exp2((min(four_router_scores(min(places, vec4u(n - 1u))), vec4f(cap)) - top) * scale);
    sums += select(vec4f(), terms, places < vec4u(n));
  }
  return sum_of_all(lane, (sums.x + sums.y) + (sums.z + sums.w));
}

var<workgroup> descended: vec2f;
fn descend(lane: u32, n: u32, length: u32, k: u32) -> vec2f {
  let least = float_word(${words + Descent.Eps});
  let decay = float_word(${words + Descent.EpsDecay});
  let wanted = min(f32(k) * float_word(${words + Descent.FetchRatio}), f32(length));
  var largest = router_score_at(0u);
  for (var i = lane; i < n; i += ${BLOCK}u) {
    let four = four_router_scores(min(i + ${OFFSETS}, vec4u(n - 1u)));
    largest = max(largest, max(max(four.x, four.y), max(four.z, four.w)));
  }
  largest = largest_of_all(lane, largest);
  var eps = max(float_word(${words + Descent.EpsInit}), least);
  var a = eps * log_of(wanted / f32(n));
  eps = max(eps * decay, least);
  for (var left = word(${words + Descent.Iterations}) - 1; left > 0; left--) {
    let top = min(largest, -a);
    let sum = sum_of_exponentials(lane, n, -a, top, 1.44269504 / eps);
    a = fma(eps, log_of(wanted / sum), -top);
    eps = max(eps * decay, least);
  }
  if (lane == 0u) { descended = vec2f(a, eps); }
  return workgroupUniformLoad(&descended);
}`
