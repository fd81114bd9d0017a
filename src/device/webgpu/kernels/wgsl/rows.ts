import { type DispatchHeader } from '../../../../../assembly/ops.js'
import type { OpView, Workgroups } from '../../kernel.js'

/** Invocations of a workgroup that works along a row. */
export const ROW_WIDTH = 64

/** A workgroup of `ROW_WIDTH` vectors for each part of each row: columns in x, rows in y. */
export function perVector(op: OpView, rows: number, stride: number, limit?: DispatchHeader): Workgroups {
  return [Math.ceil(stride / (4 * ROW_WIDTH)), op.rows(rows, limit)]
}

/**
 * `uniform_of(lane, value)`: what invocation 0 brings, for all of a workgroup. Barriers must be reached by all or none,
 * and the compiler believes that of no value that it has not seen them share.
 */
export const UNIFORM = `
var<workgroup> uniform_value: i32;
fn uniform_of(lane: u32, value: i32) -> i32 {
  if (lane == 0u) { uniform_value = value; }
  return workgroupUniformLoad(&uniform_value);
}`

/**
 * `sum_over_row(lane, value)`: the sum of what all invocations of a workgroup bring, by one tree whatever the row;
 * every one of them must come. What invocations bring must follow from the row's length alone.
 */
export const ROW_SUM = `
var<workgroup> row_parts: array<f32, ${ROW_WIDTH}>;
fn sum_over_row(lane: u32, value: f32) -> f32 {
  workgroupBarrier();
  row_parts[lane] = value;
  for (var half = ${ROW_WIDTH / 2}u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { row_parts[lane] += row_parts[lane + half]; }
  }
  workgroupBarrier();
  return row_parts[0];
}`
