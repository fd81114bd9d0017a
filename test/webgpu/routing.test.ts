import { beforeAll, describe, test } from 'vitest'
import { DispatchHeader } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import type { WebGpuDevice } from '../../src/device/webgpu/webgpu-device.js'
import { createRandom } from '../../src/random.js'
import { listCases, listQueriesOp } from '../kernels/list-queries-op.js'
import { tokenWidths } from '../kernels/op-cases.js'
import { OpMemory } from '../kernels/op-runner.js'
import { noAdapter, openDevice } from './gpu.js'
import { expectSameOp, type OpCase } from './op-comparison.js'

describe.skipIf(noAdapter)('routing on a GPU, as on the processor', () => {
  let device: WebGpuDevice
  beforeAll(async () => void (device = await openDevice()))

  test('writes router scores expert by expert, as cosines or dot products', async () => {
    for (const width of tokenWidths) {
      for (const cosine of [false, true]) {
        const make = (): OpCase<Opcode.RouterScores> => {
          const { normal } = createRandom(width)
          const [rows, experts, capacity, stride] = [5, 3, 9, Math.ceil(width / 8) * 8]
          const memory = new OpMemory()
          const written = Array.from({ length: experts }, (_, expert) => ({ first: expert * capacity + 2, width: rows }))
          const queries = memory.output(experts * capacity, written)
          const keyValues = memory.output(experts * capacity, written)
          const fields = {
            rows: memory.count(rows),
            first: memory.count(2),
            input: memory.input(Float32Array.from({ length: rows * stride }, (_, i) => (i % stride < width ? normal() : 0))),
            products: memory.input(Float32Array.from({ length: rows * 8 }, normal)),
            queries,
            keyValues,
            stride,
            width,
            productStride: 8,
            experts,
            capacity,
            cosine,
            scale: 8,
          }
          const chunk = { [DispatchHeader.Rows]: rows }
          return { memory, opcode: Opcode.RouterScores, fields, chunk, floats: [queries, keyValues] }
        }
        await expectSameOp(device, make, `width ${width}, cosine ${cosine}`)
      }
    }
  })

  test('lists the requested rows that were selected', async () => {
    for (const options of listCases) await expectSameOp(device, () => listQueriesOp(options), JSON.stringify(options))
  })
})
