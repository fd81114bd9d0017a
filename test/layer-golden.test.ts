import { describe, expect, test } from 'vitest'
import { MixtureOfAutoregressiveAttention } from '../src/model/layer.js'
import { largestDifference } from './support/compare.js'
import { layerCases } from './support/golden.js'
import { allBuilds, openRuntime } from './support/runtimes.js'

describe.each(allBuilds)('on the %s build', (build) => {
  test.each(layerCases().map((golden) => [golden.name, golden] as const))('the layer answers %s exactly', async (_name, golden) => {
    using runtime = openRuntime(build)
    const layer = new MixtureOfAutoregressiveAttention(runtime, golden.options)
    layer.loadStateDict(golden.parameters)
    const { dim } = golden.options
    const [batch, length] = golden.input.shape as [number, number]

    const trace = await layer.forward(golden.input, { ...golden.forwardOptions, trace: true })

    const tolerance = 4 * golden.float32Error + 1e-6
    const { expected, tokenStride } = golden
    const every = (data: Float32Array) => {
      const rows: number[] = []
      for (let b = 0; b < batch; b++) {
        for (let t = 0; t < length; t += tokenStride) rows.push(...data.subarray((b * length + t) * dim, (b * length + t + 1) * dim))
      }
      return rows
    }
    expect(trace.out.shape).toEqual([...golden.input.shape])
    expect(largestDifference(every(trace.localOut.data), expected.localOut.data)).toBeLessThan(tolerance)
    if (expected.routedQueries && expected.keyValueIndices) {
      expect(trace.routedQueries.shape).toEqual(expected.routedQueries.shape)
      expect(Array.from(trace.routedQueries.data)).toEqual(Array.from(expected.routedQueries.data))
      expect(trace.keyValueIndices.shape).toEqual(expected.keyValueIndices.shape)
      expect(Array.from(trace.keyValueIndices.data)).toEqual(Array.from(expected.keyValueIndices.data))
    }
    expect(largestDifference(every(trace.out.data), expected.out.data)).toBeLessThan(tolerance)
    expect((await layer.forward(golden.input, golden.forwardOptions)).data).toEqual(trace.out.data)
  })
})
