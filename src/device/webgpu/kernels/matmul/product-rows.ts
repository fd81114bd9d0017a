import type { ProductTile } from './product-tiles.js'
import { each, lines, components } from '../wgsl/text.js'

export interface RowsShape {
  /** Rows and columns of C per workgroup; columns a multiple of 4. */
  readonly rows: number
  readonly columns: number
  /** k per slab in workgroup memory, a multiple of 4. */
  readonly depth: number
  /** Invocations, at least one per row and four columns; the others only help to load. */
  readonly threads: number
}

/**
 * Number of groups of four k written out; drivers unroll the rest, or compile in a fraction of the time (SwiftShader: 5
 * s for 32 groups).
 */
const UNROLLED = 4

/**
 * The product for few rows, which is bound by latency rather than arithmetic: an invocation computes one row and four
 * columns, and slabs deep in k pass through workgroup memory while the next one is loaded into registers. The module's
 * declarations and the bits of the result are the same as for `productTile`.
 */
export function productRows(shape: RowsShape): ProductTile {
  const { rows, columns, depth, threads } = shape
  const across = columns / 4
  const groups = depth / 4
  const computing = rows * across
  const unrolled = Math.min(UNROLLED, groups)
  if (![across, groups, groups / Math.min(UNROLLED, groups)].every(Number.isInteger) || computing > threads)
    throw new Error(`No product of few rows has this shape: ${JSON.stringify(shape)}`)

  const vectorsOfA = rows * groups
  const vectorsOfB = depth * across
  const eachOfA = Math.ceil(vectorsOfA / threads)
  const eachOfB = Math.ceil(vectorsOfB / threads)
  // `%` by the array's size shows Tint that an index is in range, which it is anyway; `partly` excludes indices
  // beyond.
  const partly = (vectors: number, index: string, text: string) =>
    vectors % threads === 0 ? text : `if (${index} < ${vectors}u) { ${text} }`
  const places = `
let last_row = rows() - 1u;
${lines(
  eachOfA,
  (i) => `let a_index${i} = thread + ${i * threads}u;
let a_line${i} = a_index${i} / ${groups}u % ${rows}u;
let a_group${i} = a_index${i} % ${groups}u;
let a_row${i} = min(tile_row + a_line${i}, last_row);`,
)}
${lines(
  eachOfB,
  (i) => `let b_index${i} = thread + ${i * threads}u;
let b_k${i} = b_index${i} / ${across}u % ${depth}u;
let b_column${i} = b_index${i} % ${across}u;
let b_from${i} = min(tile_column + b_column${i} * 4u, columns() - 4u);`,
)}`
  const fetch = `
${lines(eachOfB, (i) => `fetched_b${i} = load_b(next + b_k${i}, b_from${i});`)}
${lines(eachOfA, (i) => `fetched_a${i} = load_a(a_row${i}, next + a_group${i} * 4u);`)}`
  const keep = `
${lines(eachOfB, (i) => partly(vectorsOfB, `b_index${i}`, `slab_b[b_k${i}][b_column${i}] = fetched_b${i};`))}
${lines(eachOfA, (i) => partly(vectorsOfA, `a_index${i}`, `slab_a[a_line${i}][a_group${i}] = fetched_a${i};`))}`
  const four = (group: number | string, k: (index: number) => string) => `{
let a = slab_a[line][${group}];
${lines(4, (i) => `sum = fma(vec4f(a.${components[i]}), slab_b[${k(i)}][x], sum);`)}
}`
  const body = `
let tile_row = workgroup.y * ${rows}u;
let tile_column = workgroup.x * ${columns}u;
if (tile_row >= rows() || tile_column >= columns()) { return; }
let x = thread % ${across}u;
let line = thread / ${across}u % ${rows}u;
let computes = thread < ${computing}u;
${places}
${each(eachOfB, (i) => `var fetched_b${i}: vec4f;`).join(' ')}
${each(eachOfA, (i) => `var fetched_a${i}: vec4f;`).join(' ')}
var sum = vec4f();
{
let next = 0u;
${fetch}
}
let whole = depth() / ${depth}u * ${depth}u;
for (var k = 0u; k < whole; k += ${depth}u) {
${keep}
workgroupBarrier();
let next = k + ${depth}u;
if (next < depth()) {
${fetch}
}
if (computes) {
for (var group = 0u; group < ${groups}u; group += ${unrolled}u) {
${lines(unrolled, (i) => four(`(group + ${i}u) % ${groups}u`, (k) => `(group * 4u + ${4 * i + k}u) % ${depth}u`))}
}
}
workgroupBarrier();
}
let rest = depth() - whole;
if (rest > 0u) {
${keep}
workgroupBarrier();
for (var group = 0u; group < rest / 4u; group++) ${four('group', (i) => `group * 4u + ${i}u`)}
for (var k = rest / 4u * 4u; k < rest; k++) { sum = fma(vec4f(slab_a[line][k / 4u][k % 4u]), slab_b[k][x], sum); }
}
let row = tile_row + line;
let column = tile_column + x * 4u;
if (computes && row < rows() && column < columns()) { store_c(row, column, sum); }`
  return {
    rows,
    columns,
    threads,
    declarations: `var<workgroup> slab_a: array<array<vec4f, ${groups}>, ${rows}>;
var<workgroup> slab_b: array<array<vec4f, ${across}>, ${depth}>;`,
    body,
    freeVector: 'slab_a[0][0]',
  }
}
