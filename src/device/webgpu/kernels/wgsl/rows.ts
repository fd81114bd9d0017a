import type { OpView, Workgroups } from '../../kernel.js'

/** Invocations per workgroup in kernels that work along a row. */
export const ROW_WIDTH = 64

/** One workgroup for every `ROW_WIDTH` vectors of each row: columns in x, rows in y. */
export function perVector(op: OpView, rows: number, stride: number): Workgroups {
  return [Math.ceil(stride / (4 * ROW_WIDTH)), op.rows(rows)]
}

/**
 * `uniform_of(lane, value)`: broadcasts invocation 0's value to the workgroup. Barriers must be in uniform control
 * flow, and the compiler accepts only values it has seen broadcast as uniform.
 */
export const UNIFORM = `
var<workgroup> uniform_value: i32;
fn uniform_of(lane: u32, value: i32) -> i32 {
  if (lane == 0u) { uniform_value = value; }
  return workgroupUniformLoad(&uniform_value);
}`

/**
 * `sum_over_row(lane, value)`: the sum over all invocations of a workgroup, by the same tree for every row; all
 * invocations must call it. Each invocation's value must depend only on the row's length and contents.
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
