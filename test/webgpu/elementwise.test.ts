import { beforeAll, describe, test } from 'vitest'
import { DispatchHeader } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import { Norm, WeightFormat } from '../../assembly/ir/values.js'
import type { WebGpuDevice } from '../../src/device/webgpu/webgpu-device.js'
import { createRandom } from '../../src/random.js'
import { rowWidths, vocabularies } from '../kernels/op-cases.js'
import { OpMemory } from '../kernels/op-runner.js'
import { noAdapter, openDevice } from './gpu.js'
import { expectSameOp, type OpCase } from './op-comparison.js'

const roundUp = (value: number) => Math.ceil(value / 8) * 8

/** `rows` of `width` random values, their padding zero. */
function randomRows(rows: number, width: number, seed = 0): Float32Array {
  const { normal } = createRandom(1000 * seed + width)
  const stride = roundUp(width)
  return Float32Array.from({ length: rows * stride }, (_, i) => (i % stride < width ? normal() : 0))
}

describe.skipIf(noAdapter)('rows on a GPU, as on the processor', () => {
  let device: WebGpuDevice
  beforeAll(async () => void (device = await openDevice()))

  test('normalises rows of any width, listed or in order', async () => {
    for (const kind of [Norm.None, Norm.Layer, Norm.RootMeanSquare]) {
      for (const width of rowWidths) {
        const make = (): OpCase<Opcode.Normalise> => {
          const stride = roundUp(width)
          const memory = new OpMemory()
          const output = memory.output(5 * stride)
          const fields = {
            rows: memory.count(5),
            first: memory.count(1),
            indices: memory.input(Int32Array.of(7, 0, 3, 3, 1)),
            input: memory.input(randomRows(9, width)),
            output,
            weight: kind === Norm.None ? undefined : memory.input(randomRows(1, width, 1)),
            bias: kind === Norm.Layer ? memory.input(randomRows(1, width, 2)) : undefined,
            kind,
            width,
            stride,
            ring: width % 2 === 0 ? 8 : undefined,
          }
          return {
            memory,
            opcode: Opcode.Normalise,
            fields,
            chunk: { [DispatchHeader.Rows]: 8 },
            floats: [output],
          }
        }
        await expectSameOp(device, make, `norm ${kind}, width ${width}`)
      }
    }
  })

  test('embeds tokens, with the learned row of their position where there is one', async () => {
    for (const width of rowWidths) {
      for (const learned of [false, true]) {
        const make = (): OpCase<Opcode.Embed> => {
          const stride = roundUp(width)
          const memory = new OpMemory()
          const output = memory.output(3 * stride)
          const fields = {
            rows: memory.count(3),
            tokenIds: memory.input(Int32Array.of(4, 0, 2)),
            tokens: memory.input(randomRows(5, width)),
            positions: learned ? memory.input(randomRows(9, width, 1)) : undefined,
            output,
            stride,
            tokensFormat: WeightFormat.Float32,
          }
          return {
            memory,
            opcode: Opcode.Embed,
            fields,
            chunk: { [DispatchHeader.Rows]: 3, [DispatchHeader.Position]: 5 },
            exact: [output],
          }
        }
        await expectSameOp(device, make, `width ${width}, learned positions ${learned}`)
      }
    }
  })

  test('copies rows bit by bit, to a ring too', async () => {
    for (const width of rowWidths) {
      const make = (): OpCase<Opcode.CopyRows> => {
        const stride = roundUp(width)
        const memory = new OpMemory()
        const output = memory.output(7 * stride, [{ first: 2 * stride, width: 4 * stride }, { width: stride }])
        const input = randomRows(4, width)
        new Int32Array(input.buffer)[0] = 0x7fa12345
        const fields = {
          rows: memory.count(4),
          first: memory.count(2),
          input: memory.input(input),
          output,
          stride,
          ring: width % 2 === 0 ? 5 : undefined,
        }
        return { memory, opcode: Opcode.CopyRows, fields, chunk: { [DispatchHeader.Rows]: 4 }, exact: [output] }
      }
      await expectSameOp(device, make, `width ${width}`)
    }
  })

  test('combines local rows with routed ones and null tokens, in any of the ways there are', async () => {
    const experts = 3
    const rows = 5
    const capacity = 6
    for (const width of [5, 64, 300]) {
      for (const [scored, residual, average, unrouted, first] of [
        [true, false, 1, 0, 0],
        [false, true, 0, 2, 0],
        [true, true, 1, 5, 0],
        [false, true, 0, 3, 2],
        [true, false, 0, 0, 4],
      ] as const) {
        const make = (): OpCase<Opcode.Combine> => {
          const stride = roundUp(width)
          const memory = new OpMemory()
          const answered = rows - first
          const output = memory.output(answered * stride)
          const slots = Int32Array.from({ length: experts * capacity }, (_, i) => ((i * 7) % 5) - 1)
          const fields = {
            rows: memory.count(answered),
            first: first > 0 ? memory.count(first) : undefined,
            local: memory.inputOutput(randomRows(answered, width, 1)),
            routed: memory.input(randomRows(experts * capacity, width, 2)),
            slots: memory.input(slots),
            listScores: scored ? memory.input(randomRows(3, 6, 3)) : undefined,
            nullTokens: memory.input(randomRows(experts, width, 4)),
            residual: residual ? memory.input(randomRows(rows, width, 5)) : undefined,
            output,
            stride,
            experts,
            rowCapacity: capacity,
          }
          const chunk = {
            [DispatchHeader.Rows]: rows,
            [DispatchHeader.Routed]: 1,
            [DispatchHeader.Unrouted]: unrouted,
            [DispatchHeader.Average]: average,
          }
          return { memory, opcode: Opcode.Combine, fields, chunk, floats: [output] }
        }
        await expectSameOp(
          device,
          make,
          `width ${width}, scores ${scored}, residual ${residual}, ${unrouted} rows of window 0, from row ${first} on`,
        )
      }
    }
  })

  test('gives the logarithms of probabilities', async () => {
    for (const width of vocabularies) {
      const make = (): OpCase<Opcode.LogProbabilities> => {
        const rows = 3
        const stride = roundUp(width)
        const memory = new OpMemory()
        const output = memory.output(2 * rows)
        const logits = randomRows(rows, width).map((value) => 6 * value)
        const fields = {
          rows: memory.count(rows),
          logits: memory.input(logits),
          targets: memory.input(Int32Array.of(0, width - 1, width >> 1)),
          output,
          stride,
          width,
        }
        return {
          memory,
          opcode: Opcode.LogProbabilities,
          fields,
          chunk: { [DispatchHeader.Rows]: rows },
          doubles: [output],
        }
      }
      await expectSameOp(device, make, `${width} logits`, 4e-6)
    }
  })
})
