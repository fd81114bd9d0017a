import type { Kernel } from '../../kernel.js'
import { WIDTH } from './workgroup.js'

/*
 * Collective operations over the `WIDTH` invocations of a workgroup, in two forms that define the same functions and
 * give the same bits: with subgroup operations, for devices that support them, and with workgroup memory alone. Only
 * operations whose result is independent of order are here; float sums keep their fixed order (`SUM_OF_ALL`) and never
 * use subgroups.
 */

/** Lanes are combined in groups of this size, then the groups. */
const GROUP = 16

const PLAIN = `
var<workgroup> parts_of_lanes: array<u32, ${WIDTH}>;
var<workgroup> parts_of_groups: array<u32, ${GROUP}>;
fn lane_of(index: u32) -> u32 { return index; }
fn prefix_sum(lane: u32, value: u32) -> vec2u {
  workgroupBarrier();
  parts_of_lanes[lane] = value;
  workgroupBarrier();
  if (lane < ${GROUP}u) {
    var sum = 0u;
    for (var i = 0u; i < ${GROUP}u; i++) { sum += parts_of_lanes[lane * ${GROUP}u + (i + lane) % ${GROUP}u]; }
    parts_of_groups[lane] = sum;
  }
  workgroupBarrier();
  let group = lane / ${GROUP}u;
  var sums = vec2u();
  for (var i = 0u; i < ${GROUP}u; i++) {
    sums += vec2u(select(0u, parts_of_groups[i], i < group), parts_of_groups[i]);
    sums.x += select(0u, parts_of_lanes[group * ${GROUP}u + i], i < lane % ${GROUP}u);
  }
  return sums;
}
fn largest_of_all(lane: u32, value: f32) -> f32 {
  workgroupBarrier();
  parts_of_lanes[lane] = bitcast<u32>(value);
  workgroupBarrier();
  if (lane < ${GROUP}u) {
    var largest = value;
    for (var i = 1u; i < ${WIDTH / GROUP}u; i++) { largest = max(largest, bitcast<f32>(parts_of_lanes[i * ${GROUP}u + lane])); }
    parts_of_groups[lane] = bitcast<u32>(largest);
  }
  workgroupBarrier();
  var largest = bitcast<f32>(parts_of_groups[0]);
  for (var i = 1u; i < ${GROUP}u; i++) { largest = max(largest, bitcast<f32>(parts_of_groups[i])); }
  return largest;
}`

/*
 * WebGPU does not specify which invocations share a subgroup, nor how many do. So invocations are renumbered: each
 * subgroup takes as many numbers as it has invocations, in order of arrival, from a counter that holds the next number
 * and, in its upper half, the number of subgroups so far. A subgroup's lanes are then consecutive, in the order of its
 * own scans. What a workgroup computes depends only on its lanes, not on which invocation has which.
 */
const SUBGROUPS = `
var<workgroup> numbered: atomic<u32>;
var<workgroup> parts_of_subgroups: array<u32, ${WIDTH}>;
var<private> own_subgroup: u32;
var<private> subgroup_count: u32;
fn lane_of(index: u32) -> u32 {
  let size = subgroupAdd(1u);
  let rank = subgroupExclusiveAdd(1u);
  var taken = 0u;
  if (rank == 0u) { taken = atomicAdd(&numbered, size + 0x10000u); }
  taken = subgroupBroadcastFirst(taken);
  workgroupBarrier();
  own_subgroup = taken >> 16u;
  subgroup_count = atomicLoad(&numbered) >> 16u;
  return (taken & 0xffffu) + rank;
}
fn prefix_sum(lane: u32, value: u32) -> vec2u {
  let before = subgroupExclusiveAdd(value);
  let sum = subgroupAdd(value);
  workgroupBarrier();
  if (subgroupElect()) { parts_of_subgroups[own_subgroup] = sum; }
  workgroupBarrier();
  var sums = vec2u(before, 0u);
  for (var i = 0u; i < subgroup_count; i++) { sums += vec2u(select(0u, parts_of_subgroups[i], i < own_subgroup), parts_of_subgroups[i]); }
  return sums;
}
fn largest_of_all(lane: u32, value: f32) -> f32 {
  var largest = subgroupMax(value);
  workgroupBarrier();
  if (subgroupElect()) { parts_of_subgroups[own_subgroup] = bitcast<u32>(largest); }
  workgroupBarrier();
  for (var i = 0u; i < subgroup_count; i++) { largest = max(largest, bitcast<f32>(parts_of_subgroups[i])); }
  return largest;
}`

/** Code that calls these functions, in both forms. */
export function withCollectives(code: string): Pick<Kernel, 'code' | 'subgroupCode'> {
  return { code: PLAIN + code, subgroupCode: SUBGROUPS + code }
}
