import { BLOCK, CHUNK, MARKS, OFFSETS } from '../wgsl/workgroup.js'

/**
 * The k largest of n candidates, ties to the lower index, by a workgroup without sorting. The kernel must define
 * `key_at(i)`, the `ordered_key` of candidate i; needs `withCollectives`.
 */
export const TOP_K = `
${MARKS}
fn ordered_key(bits: u32) -> u32 { return bits ^ (u32(i32(bits) >> 31u) | 0x80000000u); }
fn four_keys(places: vec4u) -> vec4u { return vec4u(key_at(places.x), key_at(places.y), key_at(places.z), key_at(places.w)); }

var<workgroup> bins: array<atomic<u32>, 256>;
var<workgroup> found_cut: vec2u;
fn find_cut(lane: u32, n: u32, k: u32) -> vec2u {
  if (k >= n) { return vec2u(0u, n); }
  var cut = vec2u(0u, k);
  for (var shift = 24i; shift >= 0; shift -= 8) {
    let place = u32(shift);
    atomicStore(&bins[lane], 0u);
    workgroupBarrier();
    let higher = select(0xffffffffu << (place + 8u), 0u, place == 24u);
    for (var i = lane; i < n; i += ${BLOCK}u) {
      let places = i + ${OFFSETS};
      let keys = four_keys(min(places, vec4u(n - 1u)));
      let counted = (places < vec4u(n)) & ((keys & vec4u(higher)) == vec4u(cut.x));
      let at = (keys >> vec4u(place)) & vec4u(255u);
      if (counted.x) { atomicAdd(&bins[at.x], 1u); }
      if (counted.y) { atomicAdd(&bins[at.y], 1u); }
      if (counted.z) { atomicAdd(&bins[at.z], 1u); }
      if (counted.w) { atomicAdd(&bins[at.w], 1u); }
    }
    workgroupBarrier();
    let bin = 255u - lane;
    let count = atomicLoad(&bins[bin]);
    let above = prefix_sum(lane, count).x;
    if (above < cut.y && cut.y <= above + count) { found_cut = vec2u(cut.x | (bin << place), cut.y - above); }
    cut = workgroupUniformLoad(&found_cut);
  }
  return cut;
}

fn rank(lane: u32, chunk: u32, n: u32, cut: vec2u) -> vec2u {
  clear_marks(lane);
  for (var i = lane; i < min(${CHUNK}u, n - chunk); i += ${BLOCK}u) {
    let places = i + ${OFFSETS};
    let keys = four_keys(min(chunk + places, vec4u(n - 1u)));
    for (var j = 0u; j < 4u; j++) {
      if (chunk + places[j] < n && keys[j] >= cut.x) { mark(places[j], u32(keys[j] == cut.x)); }
    }
  }
  return count_marks(lane);
}
fn taken_before(at: u32, cut: vec2u, before: vec2u) -> u32 {
  let counts = before + marks_before(at);
  return counts.x + min(counts.y, cut.y);
}
fn is_taken(at: u32, cut: vec2u, before: vec2u) -> bool {
  return is_marked(at, 0u) || (is_marked(at, 1u) && before.y + marks_before(at).y < cut.y);
}`
