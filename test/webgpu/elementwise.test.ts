import { beforeAll, describe, test } from 'vitest'
import { DispatchHeader } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import { Norm } from '../../assembly/ir/values.js'
import type { WebGpuDevice } from '../../src/device/webgpu/webgpu-device.js'
import { createRandom } from '../../src/random.js'
import { combineCases, combineOp } from '../kernels/combine-op.js'
import { embedCases, embedOp } from '../kernels/embed-op.js'
import { rowCopies, rowWidths, vocabularies } from '../kernels/op-cases.js'
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
    for (const options of embedCases) await expectSameOp(device, () => embedOp(options), JSON.stringify(options))
  })

  test('copies rows bit by bit, to a ring too', async () => {
    for (const width of rowWidths) {
      const [rows, first, ring] = rowCopies[width % rowCopies.length]!
      const make = (): OpCase<Opcode.CopyRows> => {
        const stride = roundUp(width)
        const memory = new OpMemory()
        const output = memory.output(
          (ring ?? rows + 6) * stride,
          Array.from({ length: rows }, (_, row) => ({ first: (((first ?? 0) + row) % (ring ?? Infinity)) * stride, width: stride })),
        )
        const input = randomRows(rows, width)
        // a NaN whose bits an arithmetic copy would change
        new Int32Array(input.buffer).fill(0x7fa12345, 0, 1)
        const fields = {
          rows: memory.count(rows),
          first: first === undefined ? undefined : memory.count(first),
          input: memory.input(input),
          output,
          stride,
          ring,
        }
        return { memory, opcode: Opcode.CopyRows, fields, chunk: { [DispatchHeader.Rows]: rows }, exact: [output] }
      }
      await expectSameOp(device, make, `width ${width}, ${rows} rows`)
    }
  })

  test('combines local rows with routed ones and null tokens, in every mode', async () => {
    for (const options of combineCases) await expectSameOp(device, () => combineOp(options), JSON.stringify(options))
  })

  test('computes log probabilities', async () => {
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
