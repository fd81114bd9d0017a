import { beforeAll, describe, test } from 'vitest'
import { Norm, Normalise, Opcode, Piece } from '../../assembly/steps.js'
import type { WebGpuDevice } from '../../src/device/webgpu/webgpu-device.js'
import { createRandom } from '../../src/random.js'
import { StepMemory } from '../kernels/step-runner.js'
import { noAdapter, openDevice } from './gpu.js'
import { expectSameStep } from './step-comparison.js'

const roundUp = (value: number) => Math.ceil(value / 8) * 8

describe.skipIf(noAdapter)('rows on a GPU, as on the processor', () => {
  let device: WebGpuDevice
  beforeAll(async () => void (device = await openDevice()))

  test('normalises rows of any width, listed or in order', async () => {
    for (const kind of [Norm.None, Norm.Layer, Norm.RootMeanSquare]) {
      for (const width of [1, 7, 8, 61, 256, 600]) {
        const make = () => {
          const { normal } = createRandom(width)
          const stride = roundUp(width)
          const memory = new StepMemory()
          const row = () => Float32Array.from({ length: stride }, (_, i) => (i < width ? normal() : 0))
          const input = memory.input(Float32Array.from(Array.from({ length: 9 }, row).flatMap((values) => [...values])))
          const output = memory.output(5 * stride)
          const words = {
            [Normalise.Rows]: memory.count(5),
            [Normalise.First]: memory.count(1),
            [Normalise.Indices]: memory.input(Int32Array.of(7, 0, 3, 3, 1)),
            [Normalise.Input]: input,
            [Normalise.Output]: output,
            [Normalise.Weight]: kind === Norm.None ? undefined : memory.input(row()),
            [Normalise.Bias]: kind === Norm.Layer ? memory.input(row()) : undefined,
            [Normalise.Kind]: kind,
            [Normalise.Width]: width,
            [Normalise.Stride]: stride,
          }
          return { memory, opcode: Opcode.Normalise, length: Normalise.Length, words, piece: { [Piece.Rows]: 8 }, floats: [output] }
        }
        await expectSameStep(device, make, `norm ${kind}, width ${width}`)
      }
    }
  })
})
