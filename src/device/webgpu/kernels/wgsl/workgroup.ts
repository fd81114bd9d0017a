/** Invocations of a workgroup that processes a row together: the most that WebGPU guarantees. */
export const WIDTH = 256
/**
 * Elements that a workgroup reads per step: each invocation reads four, a workgroup's width apart, so that neighbours
 * read neighbouring elements and four reads are in flight.
 */
export const BLOCK = 4 * WIDTH
/** Sums take two steps: groups of this many invocations, then the groups. */
const GROUP = 16

/** Offsets of an invocation's elements from its first. */
export const OFFSETS = `vec4u(0u, ${WIDTH}u, ${2 * WIDTH}u, ${3 * WIDTH}u)`

/** Elements of a row marked together: one word of marks per invocation. */
export const CHUNK = 32 * WIDTH

/**
 * Marks of two kinds on the elements of a chunk, and their ranks; needs `withCollectives`. `clear_marks(lane)`, then
 * `mark(at, kind)`, then `count_marks(lane)`, which every invocation must call: the number of each kind; then
 * `is_marked(at, kind)` and `marks_before(at)`. Bits are set atomically; with few marks there is little contention.
 */
export const MARKS = `
var<workgroup> marks: array<atomic<u32>, ${2 * WIDTH}>;
var<workgroup> marks_before_word: array<u32, ${WIDTH}>;
fn clear_marks(lane: u32) {
  workgroupBarrier();
  atomicStore(&marks[lane], 0u);
  atomicStore(&marks[lane + ${WIDTH}u], 0u);
  workgroupBarrier();
}
fn mark(at: u32, kind: u32) { atomicOr(&marks[kind * ${WIDTH}u + at / 32u], 1u << (at % 32u)); }
fn is_marked(at: u32, kind: u32) -> bool { return (atomicLoad(&marks[kind * ${WIDTH}u + at / 32u]) & (1u << (at % 32u))) != 0u; }
fn pair(sums: u32) -> vec2u { return vec2u(sums & 0xffffu, sums >> 16u); }
fn count_marks(lane: u32) -> vec2u {
  workgroupBarrier();
  let sums = prefix_sum(lane, countOneBits(atomicLoad(&marks[lane])) + (countOneBits(atomicLoad(&marks[lane + ${WIDTH}u])) << 16u));
  marks_before_word[lane] = sums.x;
  workgroupBarrier();
  return pair(sums.y);
}
fn marks_before(at: u32) -> vec2u {
  let lower = (1u << (at % 32u)) - 1u;
  let ranks = vec2u(atomicLoad(&marks[at / 32u]), atomicLoad(&marks[at / 32u + ${WIDTH}u])) & vec2u(lower);
  return pair(marks_before_word[at / 32u]) + countOneBits(ranks);
}`

/**
 * `sum_of_all(lane, value)`: the sum over all invocations of a workgroup, in a fixed order; all of them must call it.
 */
export const SUM_OF_ALL = `
var<workgroup> summed_parts: array<f32, ${WIDTH}>;
var<workgroup> summed_groups: array<f32, ${GROUP}>;
fn sum_of_all(lane: u32, value: f32) -> f32 {
  summed_parts[lane] = value;
  workgroupBarrier();
  if (lane < ${GROUP}u) {
    var sum = summed_parts[lane];
    for (var i = 1u; i < ${WIDTH / GROUP}u; i++) { sum += summed_parts[i * ${GROUP}u + lane]; }
    summed_groups[lane] = sum;
  }
  workgroupBarrier();
  var sum = summed_groups[0];
  for (var i = 1u; i < ${GROUP}u; i++) { sum += summed_groups[i]; }
  return sum;
}`
