import { beforeAll, describe, test } from 'vitest'
import { ListQueries, Opcode, Piece, Similarities } from '../../assembly/steps.js'
import type { WebGpuDevice } from '../../src/device/webgpu/webgpu-device.js'
import { createRandom } from '../../src/random.js'
import { StepMemory } from '../kernels/step-runner.js'
import { noAdapter, openDevice } from './gpu.js'
import { expectSameStep } from './step-comparison.js'

describe.skipIf(noAdapter)('routing on a GPU, as on the processor', () => {
  let device: WebGpuDevice
  beforeAll(async () => void (device = await openDevice()))

  test('spreads similarities over experts, as cosines or as they are', async () => {
    for (const width of [3, 64, 333]) {
      for (const cosine of [0, 1]) {
        const make = () => {
          const { normal } = createRandom(width)
          const [rows, experts, capacity, stride] = [5, 3, 9, Math.ceil(width / 8) * 8]
          const memory = new StepMemory()
          const written = Array.from({ length: experts }, (_, expert) => ({ first: expert * capacity + 2, width: rows }))
          const queries = memory.output(experts * capacity, written)
          const keyValues = memory.output(experts * capacity, written)
          const words = {
            [Similarities.Rows]: memory.count(rows),
            [Similarities.First]: memory.count(2),
            [Similarities.Input]: memory.input(Float32Array.from({ length: rows * stride }, (_, i) => (i % stride < width ? normal() : 0))),
            [Similarities.Products]: memory.input(Float32Array.from({ length: rows * 8 }, normal)),
            [Similarities.Queries]: queries,
            [Similarities.KeyValues]: keyValues,
            [Similarities.Stride]: stride,
            [Similarities.Width]: width,
            [Similarities.ProductStride]: 8,
            [Similarities.Experts]: experts,
            [Similarities.Capacity]: capacity,
            [Similarities.Cosine]: cosine,
            [Similarities.Scale]: { float: 8 },
          }
          const piece = { [Piece.Rows]: rows }
          return { memory, opcode: Opcode.Similarities, length: Similarities.Length, words, piece, floats: [queries, keyValues] }
        }
        await expectSameStep(device, make, `width ${width}, cosine ${cosine}`)
      }
    }
  })

  test('lists the queries of one window or of several', async () => {
    const experts = 2
    for (const [window, size, windows, rows] of [
      [0, 300, 1, 300],
      [0, 100, 6, 600],
      [3, 100, 6, 590],
      [2, 7, 40, 280],
      [1, 1, 300, 300],
    ] as const) {
      const make = () => {
        const { uniform } = createRandom(rows)
        const position = window * size
        const capacity = position + rows + 5
        const memory = new StepMemory()
        const taken = Int32Array.from({ length: experts * capacity }, () => Number(uniform() < 0.4))
        const places = (expert: number) => ({ first: expert * rows, width: rows })
        const lists = [0, 1].map(() => memory.inputOutput(new Int32Array(experts * rows), [places(0), places(1)]))
        const listScores = memory.inputOutput(new Float32Array(experts * rows), [places(0), places(1)])
        const counts = memory.output(experts)
        const starts = memory.output(experts * (windows + 1))
        const ends = memory.output(windows)
        const words = {
          [ListQueries.Taken]: memory.input(taken),
          [ListQueries.Scores]: memory.input(Float32Array.from(taken, uniform)),
          [ListQueries.Lists]: lists[0],
          [ListQueries.Slots]: lists[1],
          [ListQueries.Counts]: counts,
          [ListQueries.ListScores]: listScores,
          [ListQueries.Experts]: experts,
          [ListQueries.Capacity]: capacity,
          [ListQueries.RowCapacity]: rows,
          [ListQueries.Starts]: starts,
          [ListQueries.Ends]: ends,
          [ListQueries.StartCapacity]: windows + 1,
          [ListQueries.WindowSize]: size,
          [ListQueries.KeyValues]: 150,
        }
        const piece = {
          [Piece.Rows]: rows,
          [Piece.Routed]: Number(position + rows > size),
          [Piece.Unrouted]: Math.max(0, Math.min(rows, size - position)),
          [Piece.Window]: window,
          [Piece.Windows]: windows,
          [Piece.Position]: position,
        }
        // of window 0 nothing is listed, and what lies there stays
        const exact = piece[Piece.Routed] ? [...lists, listScores, counts, starts, ends] : [counts, starts, ends]
        return { memory, opcode: Opcode.ListQueries, length: ListQueries.Length, words, piece, exact }
      }
      await expectSameStep(device, make, `${windows} windows of ${size} from ${window} on`)
    }
  })
})
