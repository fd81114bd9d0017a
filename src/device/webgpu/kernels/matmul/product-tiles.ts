import { each, lines, components } from '../wgsl/text.js'

/**
 * WGSL for C = A·B in float32, tile by tile: the arithmetic and its traffic through workgroup memory, and nothing about
 * bindings, so that a caller joins it to whatever it reads and writes (bias, activation, gathered rows). A caller's
 * module declares
 *
 * fn rows() -> u32 from a uniform or read-only buffer: barriers depend on these three fn depth() -> u32 any number, 0
 * too fn columns() -> u32 a multiple of 4 fn load_a(row: u32, k: u32) -> vec4f A[row][k .. k+3]; row < rows(), k a
 * multiple of 4 fn load_b(k: u32, column: u32) -> vec4f B[k][column .. column+3]; column < columns(), a multiple of 4
 * fn store_c(row: u32, column: u32, value: vec4f) called once for each row < rows() and each four columns
 *
 * and puts `declarations` at module scope and `body` into an entry point of `threads` invocations that has
 * `workgroup: vec3u` (workgroup_id) and `thread: u32` (local_invocation_index); workgroup x counts tiles along the
 * columns, y along the rows. The loads may be asked for k at or beyond depth(), up to the end of a block: what they
 * return is never used.
 *
 * Every output is one chain, acc = fma(a_k, b_k, acc) in ascending k from +0, whatever the tile: all shapes give the
 * same bits. A last, partial block runs k by k to its end instead of adding products of zeros, which would turn a -0
 * into +0.
 *
 * Why it looks as it does (one H100 through Dawn and Vulkan, default limits, 4096 x 4096 x 4096, TFLOP/s; the study's
 * first tile had 32.0):
 * - A lies transposed in workgroup memory, so that one vector load brings four rows; a thread transposes 4 x 4 blocks
 *   in registers on the way. Keeping A as it comes, four k to a vector, takes 40.6 where this takes 48.2.
 * - The arrays are nested, and every index but one is a constant; that one has the form `e % size`, which Tint proves
 *   in range and so does not clamp (`e & (size - 1)` it does not prove). What robustness still costs is within the
 *   noise: 48.4 with it, 48.2 without.
 * - The next block is on its way to registers while this one is computed: 39.8 without. Two buffers in place of the
 *   second barrier would halve the block's depth: 43.0.
 * - 128 invocations of 16 x 8 outputs: 256 of 8 x 8 hold so many registers that one workgroup fits where two should:
 *   38.5.
 */
export interface TileShape {
  /** Rows and columns of C per workgroup. */
  readonly rows: number
  readonly columns: number
  /** k per block in workgroup memory, a multiple of 4. */
  readonly depth: number
  /** Rows and columns of C per invocation, multiples of 4. */
  readonly threadRows: number
  readonly threadColumns: number
}

export interface ProductTile {
  readonly rows: number
  readonly columns: number
  readonly threads: number
  readonly declarations: string
  readonly body: string
  /**
   * A vector of workgroup memory that is unused before the body begins, since tiles take up all of the default limit.
   */
  readonly freeVector: string
}

/**
 * Arrangement of 32 neighbouring invocations in a tile: 4 along the rows, 8 along the columns, so that they share
 * operands.
 */
const lanes = { rows: 4, columns: 8 }

export function productTile(shape: TileShape): ProductTile {
  const { rows, columns, depth, threadRows, threadColumns } = shape
  const rowVectors = threadRows / 4
  const columnVectors = threadColumns / 4
  const across = columns / threadColumns
  const down = rows / threadRows
  const threads = across * down
  const groups = depth / 4

  // A in blocks of 4 rows x 4 k: either each invocation loads some, or the first half of the invocations loads A and
  // the other half B.
  const blocks = (rows / 4) * groups
  const split = blocks * 2 === threads
  const loadersOfB = split ? threads / 2 : threads
  const blocksEach = split ? 1 : blocks / threads
  const vectorsEach = (depth * columns) / 4 / loadersOfB
  const warpsAcross = across / lanes.columns
  for (const count of [rowVectors, columnVectors, groups, blocksEach, vectorsEach, warpsAcross, down / lanes.rows])
    if (!Number.isInteger(count)) throw new Error(`No product tile has this shape: ${JSON.stringify(shape)}`)

  // The positions of A's rows are rotated by the block's k, as stores of neighbouring blocks would otherwise hit the
  // same memory bank.
  const span = Math.min(8, down)
  const turn = Math.max(1, Math.floor(span / groups))
  const turned = (group: number) => (group * turn) % span

  const places = `
let last_row = rows() - 1u;
${lines(
  blocksEach,
  (i) => `let a_index${i} = thread + ${i * threads}u;
let a_block${i} = a_index${i} / ${groups}u;
let a_group${i} = a_index${i} % ${groups}u;
let a_row${i} = tile_row + a_block${i} * 4u;
let a_vector${i} = a_block${i} / ${down}u % ${rowVectors}u;
let a_place${i} = ((a_block${i} % ${down}u) ^ (a_group${i} * ${turn}u % ${span}u)) % ${down}u;`,
)}
${lines(
  vectorsEach,
  (i) => `let b_index${i} = thread % ${loadersOfB}u + ${i * loadersOfB}u;
let b_k${i} = b_index${i} / ${columns / 4}u % ${depth}u;
let b_column${i} = b_index${i} % ${columns / 4}u;
let b_from${i} = min(tile_column + b_column${i} * 4u, columns() - 4u);`,
)}`
  const nameOfB = (i: number) => (split ? `fetched${i}` : `fetched${blocksEach * 4 + i}`)
  const fetched = split ? Math.max(4, vectorsEach) : blocksEach * 4 + vectorsEach
  const both = (ofA: string, ofB: string) => (split ? `if (thread < ${threads / 2}u) {\n${ofA}\n} else {\n${ofB}\n}` : `${ofA}\n${ofB}`)
  const fetch = both(
    lines(blocksEach * 4, (i) => `fetched${i} = load_a(min(a_row${i >> 2} + ${i & 3}u, last_row), next + a_group${i >> 2} * 4u);`),
    lines(vectorsEach, (i) => `${nameOfB(i)} = load_b(next + b_k${i}, b_from${i});`),
  )
  const keep = both(
    lines(blocksEach * 4, (i) => {
      const [block, k] = [i >> 2, i & 3]
      const column = each(4, (row) => `fetched${block * 4 + row}.${components[k]}`).join(', ')
      return `tile_a[a_group${block} * 4u + ${k}u][a_vector${block}][a_place${block}] = vec4f(${column});`
    }),
    lines(vectorsEach, (i) => `tile_b[b_k${i}][b_column${i} / ${across}u][b_column${i} % ${across}u] = ${nameOfB(i)};`),
  )

  const op = (k: number | string, y: string) => `{
${lines(rowVectors, (i) => `let a${i} = tile_a[${k}][${i}][${y}];`)}
${lines(columnVectors, (j) => `let b${j} = tile_b[${k}][${j}][x];`)}
${lines(threadRows, (row) =>
  lines(columnVectors, (j) => `c${row}_${j} = fma(vec4f(a${row >> 2}.${components[row & 3]}), b${j}, c${row}_${j});`),
)}
}`
  const body = `
let tile_row = workgroup.y * ${rows}u;
let tile_column = workgroup.x * ${columns}u;
if (tile_row >= rows() || tile_column >= columns()) { return; }
let lane = thread % 32u;
let warp = thread / 32u;
let x = warp % ${warpsAcross}u * ${lanes.columns}u + lane / 2u % ${lanes.columns}u;
let row_place = warp / ${warpsAcross}u * ${lanes.rows}u + lane % 2u + lane / ${2 * lanes.columns}u * 2u;
${[...new Set(each(groups, turned))].map((by) => `let y${by} = (row_place ^ ${by}u) % ${down}u;`).join('\n')}
${places}
${lines(threadRows, (row) => each(columnVectors, (j) => `var c${row}_${j} = vec4f();`).join(' '))}
${lines(fetched, (i) => `var fetched${i}: vec4f;`)}
{
let next = 0u;
${fetch}
}
${keep}
workgroupBarrier();
let whole = depth() / ${depth}u * ${depth}u;
for (var k = 0u; k < whole; k += ${depth}u) {
let next = k + ${depth}u;
let more = next < depth();
if (more) {
${fetch}
}
${lines(depth, (k) => op(k, `y${turned(k >> 2)}`))}
workgroupBarrier();
if (more) {
${keep}
}
workgroupBarrier();
}
let rest = depth() - whole;
for (var k = 0u; k < rest; k++) {
let y = (row_place ^ (k / 4u * ${turn}u % ${span}u)) % ${down}u;
${op('k', 'y')}
}
${lines(threadRows, (r) => {
  const row = `tile_row + ${(r >> 2) * down * 4}u + row_place * 4u + ${r & 3}u`
  const store = (j: number) => `{
let column = tile_column + ${j * across * 4}u + x * 4u;
if (column < columns()) { store_c(row, column, c${r}_${j}); }
}`
  return `{\nlet row = ${row};\nif (row < rows()) {\n${lines(columnVectors, store)}\n}\n}`
})}`
  return {
    rows,
    columns,
    threads,
    declarations: `var<workgroup> tile_a: array<array<array<vec4f, ${down}>, ${rowVectors}>, ${depth}>;
var<workgroup> tile_b: array<array<array<vec4f, ${across}>, ${columnVectors}>, ${depth}>;`,
    body,
    freeVector: 'tile_a[0][0][0]',
  }
}
