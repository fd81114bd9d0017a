const range = (count) => [...Array(count).keys()]

/**
 * Tiles of integers, which a step of k multiplies by four bytes of A at a time: four int8 values, in one instruction or by
 * the sums of pairs, or two of int16. The int16 form has one register less, for the products that it adds. Neither is unrolled: where the int8 form is slow, the
 * int16 form would gain a tenth by it (docs/measurements/int8.md), and cost every bundle 8 kB.
 */
const INTEGERS = [
  { weights: 'Int8', rows: 6, unroll: 1, few: [1, 2], hasRow: true },
  { weights: 'Int8Pairs', rows: 6, unroll: 1, few: [1, 2], hasRow: true },
  { weights: 'Int16', rows: 5, unroll: 1, few: [], hasRow: false },
]

/**
 * Tiles as rows × panels, in the unrollings that engines differ in (docs/measurements/zen3.md#micro-kernels): V8 before
 * 13 halves its speed when k is unrolled, V8 with explicit bounds checks (Deno) gains a quarter, later ones a few
 * percent. The panels of a grouped tile lie side by side at every k, as a group of packed weights does; those of the
 * others begin `panelStride` bytes apart. Fused and unfused arithmetic share the source: `multiplyAdd` is one or the
 * other when compiled.
 */
const shapes = [
  ...[1, 2, 3, 4, 5, 6].flatMap((rows) => [
    { rows, panels: 1, unroll: 1 },
    { rows, panels: 1, unroll: 4 },
  ]),
  ...[1, 2, 3].map((rows) => ({ rows, panels: 2, unroll: 1 })),
  ...[1, 2, 3, 4, 5, 6].map((rows) => ({ rows, panels: 2, unroll: 4 })),
  ...[1, 2].flatMap((rows) => [
    { rows, panels: 3, unroll: 1 },
    { rows, panels: 3, unroll: 4 },
  ]),
  ...[1, 4].flatMap((unroll) => [
    { rows: 1, panels: 4, unroll },
    { rows: 1, panels: 4, unroll, grouped: true },
    ...['Half', 'BrainHalf'].flatMap((weights) =>
      [
        [1, 4],
        [2, 2],
        [3, 1],
        [4, 1],
      ].map(([rows, panels]) => ({ rows, panels, unroll, grouped: true, weights })),
    ),
  ]),
  ...INTEGERS.flatMap(({ weights, rows, unroll, few, hasRow }) => [
    ...(hasRow ? [{ rows: 1, panels: 4, unroll, grouped: true, weights }] : []),
    ...few.map((row) => ({ rows: row, panels: 2, unroll, weights })),
    ...range(rows).map((row) => ({ rows: row + 1, panels: 1, unroll, weights })),
  ]),
]

/**
 * How four weights become a vector of float32. A single row applies `Half`'s factor 2^112 to itself: once for 32
 * weights, not once for four.
 */
const widenings = {
  Float: (at) => `v128.load(${at})`,
  Half: (at, rows) => {
    const shifted = `v128.load_ext<i16>(${at})`
    return rows > 1 ? `widenFloat16(${shifted}, mask, scale)` : `v128.and(i32x4.shl(${shifted}, 13), mask)`
  },
  BrainHalf: (at) => `widenBfloat16(v128.load_ext<u16>(${at}))`,
  Int8: (at) => `v128.load(${at})`,
  Int8Pairs: (at) => `v128.load(${at})`,
  Int16: (at) => `v128.load(${at})`,
}

/** How a vector of products is added to a sum. */
const additions = { Int8: 'addInt8Products', Int8Pairs: 'addInt8Pairs', Int16: 'addInt16Products' }

/**
 * Widens eight weights as the two halves of float32's bits. Including the joining, that takes 5 operations and one load
 * for two vectors, where the above takes 6 and two. For tiles that unroll k: the engines that use those have
 * instructions for the shuffles (one row 11 to 17 % faster on Node 24, 20 % on Deno), and JavaScriptCore on x64, which
 * uses the others, has none (20 % slower).
 */
const halvesOf = {
  Half: ['lower = lowerHalves(weights)', 'upper = upperHalves(weights, upperMask)'],
  BrainHalf: ['upper = weights'],
}

const plural = (count, word) => `${count} ${word}${count > 1 ? 's' : ''}`
const indexed = (name, index) => (index === 0 ? name : `${name}${index}`)

/** Named as in XNNPACK: operation, weight type, tile, variant (k unrolled, panels of one group side by side). */
const TYPES = { Float: 'f32', Half: 'f16', BrainHalf: 'bf16', Int8: 's8', Int8Pairs: 's8p', Int16: 's16' }

function nameOf({ rows, panels, unroll, grouped, weights = 'Float' }) {
  return `gemm_${TYPES[weights]}_${rows}x${panels * 8}${unroll > 1 ? `_u${unroll}` : ''}${grouped ? '_grouped' : ''}`
}

function describe({ rows, panels, unroll, grouped, weights }) {
  const traits = [
    ...(unroll > 1 ? [`${unroll} of k at a time`] : []),
    ...(grouped ? ['grouped panels'] : []),
    ...(weights === 'Half' ? [`weights in float16${rows > 1 ? '' : ' and the row below 2^15'}`] : []),
    ...(weights === 'BrainHalf' ? ['weights in bfloat16'] : []),
    ...(weights === 'Int8' ? ['fours of int8'] : []),
    ...(weights === 'Int8Pairs' ? ['fours of int8 by pairs'] : []),
    ...(weights === 'Int16' ? ['pairs of int16'] : []),
  ]
  return `${plural(rows, 'row')} by ${plural(panels, 'panel')} of 8 columns${traits.map((trait) => `, ${trait}`).join('')}.`
}

/** Whether eight weights are widened at once. */
const joinsHalves = ({ unroll, weights }) => unroll > 1 && weights in halvesOf

/**
 * One k: `step` is its index in an unrolled loop. Up to two panels of B are held while the rows of A pass by; with
 * more, A is held and B passes by.
 */
function multiplyAdds(shape, step) {
  const { rows, panels, grouped, weights = 'Float' } = shape
  const bytes = weights in halvesOf ? 8 : 16
  const vectors = range(panels * 2)
  const source = (column) => (grouped ? `b, ${column * bytes}` : `${indexed('b', column >> 1)}${column & 1 ? `, ${bytes}` : ''}`)
  const loadB = (column) => {
    if (!joinsHalves(shape)) return [`const v${column} = ${widenings[weights](source(column), rows)}`]
    const four = `${column & 1 ? 'interleaveLast' : 'interleaveFirst'}(lower, upper)`
    const vector = `const v${column} = ${weights === 'Half' && rows > 1 ? `f32x4.mul(${four}, scale)` : four}`
    return column & 1 ? [vector] : [`weights = v128.load(${source(column)})`, ...halvesOf[weights], vector]
  }
  const loadA = (row) => {
    const splat = `v128.load32_splat(${indexed('a', row)}${step > 0 ? `, ${step * 4}` : ''})`
    return `const s${row} = ${weights === 'Half' && rows === 1 ? `f32x4.mul(${splat}, scale)` : splat}`
  }
  const multiplyAdd = additions[weights] ?? 'multiplyAdd'
  const more = weights === 'Int8Pairs' ? ', ones' : ''
  const add = (row, column) => `c${row}${column} = ${multiplyAdd}(s${row}, v${column}, c${row}${column}${more})`
  if (panels <= 2) {
    return [...vectors.flatMap(loadB), ...range(rows).flatMap((row) => [loadA(row), ...vectors.map((column) => add(row, column))])]
  }
  return [...range(rows).map(loadA), ...vectors.flatMap((column) => [...loadB(column), ...range(rows).map((row) => add(row, column))])]
}

/** The constants that widening or adding needs: names, and the words of memory that they are copies of. */
function constantsOf(shape) {
  if (shape.weights === 'Int8Pairs') return [['ones', 'INT16_ONES']]
  if (shape.weights !== 'Half') return []
  return [['scale', 'FLOAT16_BITS, 4'], joinsHalves(shape) ? ['upperMask', 'FLOAT16_BITS, 8'] : ['mask', 'FLOAT16_BITS, 0']]
}

/**
 * `count` tiles side by side, each C (rows × 8·panels) = A · B, or C + A · B. Each output is one chain in ascending k,
 * from +0 or from what C holds. They are one function, because a call costs as much as a dozen of k. Where one row
 * reads B as one long stream, each page is prefetched when the one before is begun: processors fetch ahead inside a
 * page only, and look up the next one's address when it is first read (decoding: 3 % faster; prefetched more often,
 * which the processor must wait for each time, it is up to 20 % slower with weights in float16).
 */
function tile(shape) {
  const { rows, panels, unroll, grouped } = shape
  const prefetchesAhead = rows === 1 && grouped && unroll > 1
  const vectors = range(panels * 2)
  const accumulators = range(rows).flatMap((row) => vectors.map((column) => ({ row, column, name: `c${row}${column}` })))
  const target = (row) => (row === 0 ? 'c' : `d${row}`)
  const pointers = grouped ? ['b'] : range(panels).map((panel) => indexed('b', panel))
  const advance = pointers.map((name) => `${name} += kStride`)
  const forward = (steps) => range(rows).map((row) => `${indexed('a', row)} += ${steps * 4}`)
  const parameters =
    'count: i32, k: i32, aRows: usize, lda: usize, bPanels: usize, kStride: usize, panelStride: usize, c: usize, ldc: usize, accumulate: bool'
  const indent = (lines, depth) => lines.map((line) => `${'  '.repeat(depth)}${line}`)
  return [
    `/** ${describe(shape)} */`,
    `export function ${nameOf(shape)}(${parameters}): void {`,
    // nothing calls these in the baseline build; the checked one emulates the instruction, for tests
    ...(shape.weights?.startsWith('Int8') ? ['  if (ASC_NO_ASSERT && !ASC_FEATURE_RELAXED_SIMD) unreachable()'] : []),
    ...constantsOf(shape).map(([name, word]) => `  const ${name} = v128.load32_splat(${word})`),
    ...(prefetchesAhead ? [`  const last = bPanels + <usize>(count * ${panels}) * panelStride - 4`] : []),
    '  for (; count > 0; --count) {',
    ...indent(
      [
        'let left = k',
        'let a = aRows',
        ...range(rows - 1).map((row) => `let a${row + 1} = ${indexed('a', row)} + lda`),
        'let b = bPanels',
        ...pointers.slice(1).map((name, panel) => `let ${name} = ${pointers[panel]} + panelStride`),
        ...range(rows - 1).map((row) => `const d${row + 1} = ${target(row)} + ldc`),
        ...accumulators.map(({ name }) => `let ${name} = f32x4.splat(0)`),
        // outside the loops: a variable set again after a multiply-add keeps the compiler from moving that to the end
        // of the loop, where it spills
        ...(joinsHalves(shape) ? ['weights', 'lower', 'upper'].map((name) => `let ${name} = f32x4.splat(0)`) : []),
        'if (accumulate) {',
        ...accumulators.map(({ row, column, name }) => `  ${name} = v128.load(${target(row)}, ${column * 16})`),
        '}',
        ...(unroll > 1
          ? [
              `for (; left >= ${unroll}; left -= ${unroll}) {`,
              ...(prefetchesAhead ? [`  if ((b & (PAGE - 1)) < ${unroll} * kStride) load<i32>(min(b + PAGE, last))`] : []),
              ...range(unroll).flatMap((step) => ['  {', ...indent([...multiplyAdds(shape, step), ...advance], 2), '  }']),
              ...indent(forward(unroll), 1),
              '}',
            ]
          : []),
        'for (; left > 0; --left) {',
        ...indent([...multiplyAdds(shape, 0), ...forward(1), ...advance], 1),
        '}',
        ...accumulators.map(({ row, column, name }) => `v128.store(${target(row)}, ${name}, ${column * 16})`),
        `bPanels += ${panels > 1 ? `${panels} * ` : ''}panelStride`,
        `c += ${panels * 32}`,
      ],
      2,
    ),
    '  }',
    '}',
    '',
  ].join('\n')
}

export function tilesSource() {
  return [
    '// Generated by assembly/generate/generate.mjs: do not edit; npm run generate writes it again.',
    '',
    "import { FLOAT16_BITS, interleaveFirst, interleaveLast, lowerHalves, upperHalves, widenBfloat16, widenFloat16 } from '../math/half'",
    "import { INT16_ONES, addInt16Products, addInt8Pairs, addInt8Products, multiplyAdd } from '../math/vectors'",
    '',
    '/** Bytes of a page of memory: of most operating systems, and what processors fetch ahead within. */',
    'const PAGE: usize = 4096',
    '',
    ...shapes.map(tile),
  ].join('\n')
}
