import { PREFIX_SUM, WIDTH } from './workgroup.js'

/** Candidates that each invocation of a workgroup looks at together, neighbours. */
const TOGETHER = 4
/** Candidates that a workgroup takes from in one step. */
export const BLOCK = TOGETHER * WIDTH
/** Copies of the histogram, so that candidates with one byte in common do not all wait for one counter. */
const COPIES = 8

/**
 * The k largest of n candidates, ties to the lower index, by a workgroup, nothing sorted. A kernel defines `key_at(i)`, the `ordered_key` of candidate i.
 *
 * `find_cut(lane, n, k)`: the k-th largest key, and how many of its equals are taken: a histogram finds it byte by byte from the top.
 * `take(lane, block, n, cut, before)`: where the four candidates from block + 4 · lane on come in the ascending list of those taken, -1 where they do not;
 * and the keys above the cut, and at it, so far: `before` what the last block's call returned. Every invocation must come.
 */
export const TOP_K = `
${PREFIX_SUM}
fn ordered_key(bits: u32) -> u32 { return bits ^ (u32(i32(bits) >> 31u) | 0x80000000u); }

var<workgroup> bins: array<atomic<u32>, ${256 * COPIES}>;
var<workgroup> found_cut: vec2u;
fn find_cut(lane: u32, n: u32, k: u32) -> vec2u {
  if (k >= n) { return vec2u(0u, n); }
  var cut = vec2u(0u, k);
  for (var shift = 24i; shift >= 0; shift -= 8) {
    let place = u32(shift);
    for (var i = 0u; i < ${COPIES}u; i++) { atomicStore(&bins[i * ${WIDTH}u + lane], 0u); }
    workgroupBarrier();
    let higher = select(0xffffffffu << (place + 8u), 0u, place == 24u);
    for (var i = lane; i < n; i += ${WIDTH}u) {
      let key = key_at(i);
      if ((key & higher) == cut.x) { atomicAdd(&bins[((key >> place) & 255u) * ${COPIES}u + lane % ${COPIES}u], 1u); }
    }
    workgroupBarrier();
    var count = 0u;
    for (var i = 0u; i < ${COPIES}u; i++) { count += atomicLoad(&bins[lane * ${COPIES}u + (i + lane / 4u) % ${COPIES}u]); }
    let above = prefix_sum(255u - lane, count).x;
    if (above < cut.y && cut.y <= above + count) { found_cut = vec2u(cut.x | (lane << place), cut.y - above); }
    cut = workgroupUniformLoad(&found_cut);
  }
  return cut;
}

struct Taken { places: vec4i, after: vec2u }
fn take(lane: u32, block: u32, n: u32, cut: vec2u, before: vec2u) -> Taken {
  var above = vec4u();
  var equal = vec4u();
  for (var j = 0u; j < ${TOGETHER}u; j++) {
    let i = block + ${TOGETHER}u * lane + j;
    if (i < n) {
      let key = key_at(i);
      above[j] = u32(key > cut.x);
      equal[j] = u32(key == cut.x);
    }
  }
  let counts = above + (equal << vec4u(16u));
  let sums = prefix_sum(lane, counts.x + counts.y + counts.z + counts.w);
  var seen = before + vec2u(sums.x & 0xffffu, sums.x >> 16u);
  var places = vec4i(-1);
  for (var j = 0u; j < ${TOGETHER}u; j++) {
    if (above[j] == 1u || (equal[j] == 1u && seen.y < cut.y)) { places[j] = i32(seen.x + min(seen.y, cut.y)); }
    seen += vec2u(above[j], equal[j]);
  }
  return Taken(places, before + vec2u(sums.y & 0xffffu, sums.y >> 16u));
}`
