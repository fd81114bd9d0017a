/*
 * On one GPU results do not depend on what else is computed with them: not on row, chunk or append, to the bit. The
 * texts have few words, often repeated.
 */
import { beforeAll, describe, expect, test } from 'vitest'
import { DispatchHeader } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import { Activation, WeightFormat } from '../../assembly/ir/values.js'
import { WebGpuDevice } from '../../src/device/webgpu/webgpu-device.js'
import { LanguageModel } from '../../src/model/language-model.js'
import type { Tensor } from '../../src/tensor.js'
import { normals, range, roundUpTo8 } from '../kernels/float32.js'
import { OpMemory } from '../kernels/op-runner.js'
import { causalConfig, randomTokens, smallModel, smallModelFiles } from '../support/small-models.js'
import { noAdapter, openGpu, openGpuRuntime } from './gpu.js'

interface Router {
  readonly width: number
  readonly experts: number
  readonly cosine: boolean
}

/** Router scores of a chunk of rows, each row's of all experts. */
async function routerScoresOf(device: WebGpuDevice, { width, experts, cosine }: Router, rows: readonly Float32Array[]): Promise<string[]> {
  const [stride, productStride] = [roundUpTo8(width), roundUpTo8(2 * experts)]
  const input = new Float32Array(rows.length * stride)
  rows.forEach((row, i) => input.set(row, i * stride))
  const products = new OpMemory()
  const output = products.output(rows.length * productStride)
  await products.runOn(
    device,
    Opcode.Matmul,
    {
      rows: products.count(rows.length),
      input: products.input(input),
      weights: products.input(normals(width * productStride, 5)),
      output,
      inputStride: stride,
      outputStride: productStride,
      depth: width,
      panels: productStride / 8,
      activation: Activation.None,
      format: WeightFormat.Float32,
    },
    { [DispatchHeader.Rows]: rows.length },
  )
  const memory = new OpMemory()
  const queries = memory.output(experts * rows.length)
  const keyValues = memory.output(experts * rows.length)
  await memory.runOn(
    device,
    Opcode.RouterScores,
    {
      rows: memory.count(rows.length),
      first: memory.count(0),
      input: memory.input(input),
      products: memory.input(products.floats(output)),
      queries,
      keyValues,
      stride,
      width,
      productStride,
      experts,
      capacity: rows.length,
      cosine,
      scale: 8,
    },
    { [DispatchHeader.Rows]: rows.length },
  )
  const bits = [queries, keyValues].map((region) => memory.ints(region))
  return rows.map((_, row) => bits.flatMap((all) => range(experts).map((expert) => all[expert * rows.length + row]!)).join(' '))
}

describe.skipIf(noAdapter)('on one GPU', () => {
  let gpu: GPUDevice
  beforeAll(async () => void (gpu = await openGpu()))

  test('a token has the same router score for each expert, at any row of a chunk of any length', async () => {
    const device = new WebGpuDevice(gpu, 128)
    for (const router of [
      { width: 45, experts: 3, cosine: true },
      { width: 130, experts: 3, cosine: false },
    ]) {
      const words = range(5).map((word) => normals(router.width, word + 1))
      const alone: string[] = []
      for (const word of words) alone.push(...(await routerScoresOf(device, router, [word])))
      expect(new Set(alone).size).toBe(words.length)
      for (const length of [2, 3, 7, 17, 33, 65, 129, 300]) {
        const ids = randomTokens(length, words.length, length)
        const together = await routerScoresOf(
          device,
          router,
          ids.map((id) => words[id]!),
        )
        ids.forEach((id, row) => expect(together[row], `row ${row} of ${length}, ${JSON.stringify(router)}`).toBe(alone[id]))
      }
    }
  })

  test('a causal model gives the same logits and keeps the same state however a text is split', async () => {
    const numTokens = 6
    const files = smallModelFiles(smallModel({ ...causalConfig, depth: 1, num_tokens: numTokens, routed_window_size: 33 }))
    const ids = randomTokens(67, numTokens)
    let logits: Tensor | undefined
    let saved: Uint8Array | undefined
    for (const [chunkRows, appends] of [
      [8192, [[67]]],
      [128, [[1]]],
      [32, [[2, 3, 7]]],
      [8, [[11], [67]]],
    ] as const) {
      const { runtime } = await openGpuRuntime({ chunkRows, on: gpu })
      const model = await LanguageModel.load(files, { runtime })
      logits ??= await model.forward(ids)
      for (const sizes of appends) {
        const about = `${sizes.join(' and ')} at a time, in pieces of up to ${chunkRows}`
        const session = model.createSession()
        for (let append = 0; session.position < ids.length; append++) {
          const next = sizes[append % sizes.length]!
          const last = await session.append(ids.slice(session.position, session.position + next))
          const end = numTokens * session.position
          expect(last, `${about}, after ${session.position}`).toEqual(logits.data.slice(end - numTokens, end))
        }
        saved ??= session.save()
        expect(session.save(), about).toEqual(saved)
      }
    }
  })
})
