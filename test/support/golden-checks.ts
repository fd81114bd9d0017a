/** What a golden case promises, on any device. */
import { expect } from 'vitest'
import type { Runtime } from '../../src/device/runtime.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { type LayerTrace, MixtureOfAutoregressiveAttention } from '../../src/model/layer.js'
import { largestDifference } from './compare.js'
import type { LayerCase, ModelCase } from './golden.js'
import { modelFiles } from './models.js'

/**
 * A layer's outputs within the tolerance, its routing exactly; returns the layer, which is the caller's to dispose of,
 * and its trace.
 */
export async function expectGoldenLayer(
  runtime: Runtime,
  golden: LayerCase,
  tolerance: number,
): Promise<{ layer: MixtureOfAutoregressiveAttention; trace: LayerTrace }> {
  const layer = new MixtureOfAutoregressiveAttention(runtime, golden.options)
  layer.loadStateDict(golden.parameters)
  const { dim } = golden.options
  const [batch, length] = golden.input.shape as [number, number]

  const trace = await layer.forward(golden.input, { ...golden.forwardOptions, trace: true })

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
  return { layer, trace }
}

/** A small model's logits within 8 times PyTorch's own error, and to the bit however its tokens are cut. */
export async function expectGoldenModel(runtime: Runtime, golden: ModelCase): Promise<void> {
  using model = await LanguageModel.load(modelFiles(golden), { runtime })
  const tolerance = 8 * golden.float32Error + 1e-5
  const { numTokens } = model.config

  const logits = await model.forward(golden.inputIds)
  expect(logits.shape).toEqual([golden.inputIds.length, numTokens])
  expect(largestDifference(logits.data, golden.expected.logits.data)).toBeLessThan(tolerance)

  using session = model.createSession()
  for (const [i, length] of golden.prefixLengths.entries()) {
    const last = await session.append(golden.inputIds.slice(session.position, length))
    const expected = golden.expected.prefixLogits.data.subarray(i * numTokens, (i + 1) * numTokens)
    expect(largestDifference(last, expected), `after ${length} tokens`).toBeLessThan(tolerance)
    const whole = await model.forward(golden.inputIds.slice(0, length))
    expect(last, `after ${length} tokens, to the bit`).toEqual(whole.data.slice(-numTokens))
  }
}
