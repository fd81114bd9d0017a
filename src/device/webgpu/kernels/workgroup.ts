/** Invocations of a workgroup that goes through a row together: the most that WebGPU grants everywhere. */
export const WIDTH = 256
/** A scan or a reduction takes two steps: invocations in groups of so many, then the groups. */
const GROUP = 16

/**
 * `prefix_sum(at, value)`: the sum of what the invocations at lower places bring, and the sum over all. Each comes with a place of its own, and every one of
 * them must come.
 */
export const PREFIX_SUM = `
var<workgroup> prefix_parts: array<u32, ${WIDTH}>;
var<workgroup> prefix_groups: array<u32, ${GROUP}>;
fn prefix_sum(at: u32, value: u32) -> vec2u {
  workgroupBarrier();
  prefix_parts[at] = value;
  workgroupBarrier();
  if (at < ${GROUP}u) {
    var sum = 0u;
    for (var i = 0u; i < ${GROUP}u; i++) { sum += prefix_parts[at * ${GROUP}u + (i + at) % ${GROUP}u]; }
    prefix_groups[at] = sum;
  }
  workgroupBarrier();
  let group = at / ${GROUP}u;
  var sums = vec2u();
  for (var i = 0u; i < ${GROUP}u; i++) {
    sums += vec2u(select(0u, prefix_groups[i], i < group), prefix_groups[i]);
    sums.x += select(0u, prefix_parts[group * ${GROUP}u + i], i < at % ${GROUP}u);
  }
  return sums;
}`

/**
 * `sum_of_all(lane, value)`, `largest_of_all(lane, value)`: over what all invocations of a workgroup bring, in one order; every one of them must come.
 */
export const REDUCTIONS = `
var<workgroup> reduced_parts: array<f32, ${WIDTH}>;
var<workgroup> reduced_groups: array<f32, ${GROUP}>;
fn sum_of_all(lane: u32, value: f32) -> f32 {
  reduced_parts[lane] = value;
  workgroupBarrier();
  if (lane < ${GROUP}u) {
    var sum = reduced_parts[lane];
    for (var i = 1u; i < ${WIDTH / GROUP}u; i++) { sum += reduced_parts[i * ${GROUP}u + lane]; }
    reduced_groups[lane] = sum;
  }
  workgroupBarrier();
  var sum = reduced_groups[0];
  for (var i = 1u; i < ${GROUP}u; i++) { sum += reduced_groups[i]; }
  return sum;
}
fn largest_of_all(lane: u32, value: f32) -> f32 {
  reduced_parts[lane] = value;
  workgroupBarrier();
  if (lane < ${GROUP}u) {
    var largest = reduced_parts[lane];
    for (var i = 1u; i < ${WIDTH / GROUP}u; i++) { largest = max(largest, reduced_parts[i * ${GROUP}u + lane]); }
    reduced_groups[lane] = largest;
  }
  workgroupBarrier();
  var largest = reduced_groups[0];
  for (var i = 1u; i < ${GROUP}u; i++) { largest = max(largest, reduced_groups[i]); }
  return largest;
}`
