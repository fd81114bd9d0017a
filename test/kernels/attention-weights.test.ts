import { describe, expect, test } from 'vitest'
import { allBuilds } from '../support/runtimes.js'
import { attentionWeightsCases, attentionWeightsOp, attentionWeightsTwin, type AttentionWeightsCase } from './attention-weights-op.js'
import { expectClose, expectSameBits, range } from './float32.js'
import { inEveryShape, misalignments, partitionCounts, runtimeOf } from './op-runner.js'
import type { Runtime } from '../../src/device/runtime.js'

function weightsOf(runtime: Runtime, options: AttentionWeightsCase): Float32Array[] {
  const { memory, opcode, fields, weights } = attentionWeightsOp(options)
  memory.run(runtime, opcode, fields)
  return range(options.heads).map(weights)
}

const describeCase = ({ heads, width, last, window }: AttentionWeightsCase) => `${heads} heads of ${width}, ${window} keys up to ${last}`

describe.each(allBuilds)('attention weights on the %s build', (build) => {
  const runtime = runtimeOf(build)

  test('are those of the plain twin, and 0 for keys that the row does not see', () => {
    for (const options of attentionWeightsCases) {
      const expected = attentionWeightsTwin(options)
      weightsOf(runtime, options).forEach((row, head) => {
        expectClose(row, expected[head]!, { absolute: 1e-6 }, describeCase(options))
        expected[head]!.forEach((weight, column) => {
          if (weight === 0) expect(row[column], describeCase(options)).toBe(0)
        })
      })
    }
  })

  test('have the same bits in any number of partitions, in tiles of every shape, at any 4-byte alignment', () => {
    for (const options of attentionWeightsCases.filter((_, i) => i % 3 === 0)) {
      const expected = weightsOf(runtime, options)
      const expectSame = (actual: Float32Array[], about: string) =>
        actual.forEach((row, head) => expectSameBits(row, expected[head]!, `${describeCase(options)}, ${about}`))
      for (const partitions of partitionCounts) expectSame(weightsOf(runtimeOf(build, partitions), options), `${partitions} partitions`)
      inEveryShape(runtime, (shape) => expectSame(weightsOf(runtime, options), shape))
      for (const misalignment of misalignments) expectSame(weightsOf(runtime, { ...options, misalignment }), `${misalignment} bytes off`)
    }
  })
})
