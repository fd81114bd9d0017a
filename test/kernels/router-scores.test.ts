import { describe, expect, test } from 'vitest'
import { Opcode } from '../../assembly/ir/ops.js'
import { Activation, WeightFormat } from '../../assembly/ir/values.js'
import type { Runtime } from '../../src/device/runtime.js'
import { norm } from '../reference/arithmetic.js'
import { allBuilds } from '../support/runtimes.js'
import { expectClose, expectSameBits, gather, normals, range, roundUpTo8, spread } from './float32.js'
import { tokenWidths } from './op-cases.js'
import { misalignments, runtimeOf, partitionCounts, OpMemory } from './op-runner.js'

interface RouterScoresCase {
  readonly rows: number
  readonly width: number
  readonly experts: number
  /** rows × width */
  readonly input: Float32Array
  /** rows × 2 · experts: queries' products, then key/values'. */
  readonly products: Float32Array
  readonly capacity: number
  readonly first?: number
  readonly cosineScale?: number
  readonly misalignment?: number
}

/** Router scores by expert, as far as they were written, [expert][rows]. */
function routerScores(runtime: Runtime, options: RouterScoresCase): { queries: Float32Array; keyValues: Float32Array } {
  const { rows, width, experts, capacity, first = 0, cosineScale } = options
  const stride = roundUpTo8(width)
  const productStride = roundUpTo8(2 * experts)
  const memory = new OpMemory(options.misalignment)
  const writable = [{ first, rows: experts, width: rows, stride: capacity }]
  const queries = memory.output(experts * capacity, writable)
  const keyValues = memory.output(experts * capacity, writable)
  memory.run(runtime, Opcode.RouterScores, {
    rows: memory.count(rows),
    first: options.first === undefined ? undefined : memory.count(first),
    input: memory.input(spread(options.input, width, stride)),
    products: memory.input(spread(options.products, 2 * experts, productStride)),
    queries,
    keyValues,
    stride,
    width,
    productStride,
    experts,
    capacity,
    cosine: cosineScale !== undefined,
    scale: cosineScale ?? NaN,
  })
  const written = (values: Float32Array) =>
    Float32Array.from({ length: experts * rows }, (_, i) => values[Math.floor(i / rows) * capacity + first + (i % rows)]!)
  return { queries: written(memory.floats(queries)), keyValues: written(memory.floats(keyValues)) }
}

/** The plain twin: products by expert, in float64 times what a cosine asks for. */
function routerScoresTwin({ rows, width, experts, input, products, cosineScale }: RouterScoresCase, router: 0 | 1): Float64Array {
  return Float64Array.from({ length: experts * rows }, (_, i) => {
    const row = i % rows
    const product = products[row * 2 * experts + router * experts + Math.floor(i / rows)]!
    if (cosineScale === undefined) return product + 0
    return (product * cosineScale) / Math.max(norm(Float64Array.from(input.subarray(row * width, (row + 1) * width))), 1e-12)
  })
}

function routerScoresCase(rows: number, width: number, experts: number) {
  return {
    rows,
    width,
    experts,
    input: normals(rows * width, width),
    products: normals(rows * 2 * experts, rows),
    capacity: rows + 11,
    first: 3,
  }
}

describe.each(allBuilds)('router scores on the %s build', (build) => {
  const runtime = runtimeOf(build)

  test('are the products, expert by expert, from the given row on', () => {
    for (const experts of [1, 2, 5]) {
      for (const rows of [0, 1, 7]) {
        const { first, ...fromTheStart } = routerScoresCase(rows, 6, experts)
        for (const options of [fromTheStart, { ...fromTheStart, first }]) {
          const { queries, keyValues } = routerScores(runtime, options)
          expectSameBits(queries, routerScoresTwin(options, 0))
          expectSameBits(keyValues, routerScoresTwin(options, 1))
        }
      }
    }
  })

  test('with cosine routing are divided by the norm of the token, at every width', () => {
    for (const width of tokenWidths) {
      const options = { ...routerScoresCase(4, width, 2), cosineScale: 8 }
      const { queries, keyValues } = routerScores(runtime, options)
      expectClose(queries, routerScoresTwin(options, 0), { relative: 1e-6 }, `width ${width}`)
      expectClose(keyValues, routerScoresTwin(options, 1), { relative: 1e-6 }, `width ${width}`)
    }
    const zeros = {
      ...routerScoresCase(2, 9, 2),
      input: new Float32Array(18),
      cosineScale: 8,
      products: normals(8, 1).map((x) => x * 1e-20),
    }
    expectClose(routerScores(runtime, zeros).queries, routerScoresTwin(zeros, 0), { relative: 1e-6 })
  })

  test('have no -0, which would lose ties that 0 wins', () => {
    for (const cosineScale of [8, undefined]) {
      const options = { ...routerScoresCase(3, 4, 1), products: new Float32Array(6).fill(-0), ...(cosineScale && { cosineScale }) }
      const { queries, keyValues } = routerScores(runtime, options)
      expectSameBits(queries, new Float32Array(3))
      expectSameBits(keyValues, new Float32Array(3))
    }
  })

  test('have the same bits at any alignment and in any number of partitions', () => {
    const options = { ...routerScoresCase(13, 21, 3), cosineScale: 8 }
    const { queries } = routerScores(runtime, options)
    for (const misalignment of misalignments) expectSameBits(routerScores(runtime, { ...options, misalignment }).queries, queries)
    for (const partitions of partitionCounts) expectSameBits(routerScores(runtimeOf(build, partitions), options).queries, queries)
  })

  test('of equal tokens are equal bits, at any row of any number of rows', () => {
    const [width, experts] = [37, 3]
    const token = normals(width, 1)
    const weights = normals(width * 8, 2)
    const seen = new Set<string>()
    for (const partitions of [1, 2, 3]) {
      for (const rows of range(15).slice(1)) {
        const memory = new OpMemory()
        // every second row is the token; the others are of any kind
        const input = normals(rows * roundUpTo8(width), rows)
        for (let row = 1; row < rows; row += 2) input.set(token, row * roundUpTo8(width))
        input.set(token, 0)
        const products = memory.output(rows * 8)
        memory.run(runtimeOf(build, partitions), Opcode.Matmul, {
          rows: memory.count(rows),
          input: memory.input(input),
          weights: memory.input(weights),
          output: products,
          inputStride: roundUpTo8(width),
          outputStride: 8,
          depth: width,
          panels: 1,
          activation: Activation.None,
          format: WeightFormat.Float32,
        })
        for (const cosineScale of [8, undefined]) {
          const { queries, keyValues } = routerScores(runtimeOf(build, partitions), {
            ...{ rows, width, experts, capacity: rows, input: gather(input, rows, width, roundUpTo8(width)) },
            products: gather(memory.floats(products), rows, 2 * experts, 8),
            ...(cosineScale && { cosineScale }),
          })
          for (const row of range(rows)) {
            if (row % 2 === 0 && row > 0) continue
            seen.add(`${cosineScale}: ${range(experts).map((r) => [queries[r * rows + row], keyValues[r * rows + row]])}`)
          }
        }
      }
    }
    expect(seen.size).toBe(2)
  })
})
