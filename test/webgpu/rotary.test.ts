import { beforeAll, describe, expect, test } from 'vitest'
import { BufferIndex, DispatchHeader } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import { Dispatch } from '../../src/device/device.js'
import type { WebGpuDevice } from '../../src/device/webgpu/webgpu-device.js'
import { ProgramBuilder } from '../../src/plan/ops/program-builder.js'
import type { OpFields } from '../../src/program/op-fields.js'
import { at } from '../../src/program/operand.js'
import { WeightPlan } from '../../src/plan/memory/weight-plan.js'
import { createRandom } from '../../src/random.js'
import { int64Words } from '../kernels/int64.js'
import { headWidths } from '../kernels/op-cases.js'
import { OpMemory } from '../kernels/op-runner.js'
import { noAdapter, openDevice } from './gpu.js'
import { expectSameOp, type OpCase } from './op-comparison.js'

describe.skipIf(noAdapter)('rotation on a GPU', () => {
  let device: WebGpuDevice
  beforeAll(async () => void (device = await openDevice()))

  test('computes the angle of any position as exactly as that of the first', async () => {
    const rows = 3
    for (const width of headWidths) {
      const plan = new WeightPlan()
      const frequencies = plan.frequencies(width)
      const weights = device.packWeights(plan.finish(), () => {
        throw new Error('no parameters')
      })
      for (const position of [0, 1, 1000, 10_000_000, 2 ** 31 - 2, 2 ** 32 - 2, 2 ** 40 + 12345]) {
        const shared = {
          rows: at(BufferIndex.DispatchHeader, DispatchHeader.Rows * 4),
          position: at(BufferIndex.DispatchHeader, DispatchHeader.Position * 4),
          frequencies,
          output: at(BufferIndex.Scratch),
          width,
        }
        const compiled = (fields: OpFields[Opcode.RotaryFromPositions]) => {
          const builder = new ProgramBuilder()
          builder.op(Opcode.RotaryFromPositions, fields)
          return device.compile(builder.finish())
        }
        const program = compiled(shared)
        const memory = device.allocate(rows * 2 * width * 4, 'the table')
        const dispatch = new Dispatch()
        dispatch.set(DispatchHeader.Rows, rows)
        dispatch.setPosition(DispatchHeader.Position, position)
        dispatch.bind(BufferIndex.Weights, weights)
        dispatch.bind(BufferIndex.Scratch, memory)
        dispatch.readbacks = [{ memory, byteOffset: 0, byteLength: memory.byteLength }]
        await device.run(program, dispatch)
        const table = memory.readFloats(0, rows * 2 * width)
        // the same positions from a list, after one that must be ignored
        const words = Int32Array.of(1, 0, ...int64Words([5, ...Array.from({ length: rows }, (_, row) => position + row)]))
        const list = device.allocate(words.byteLength, 'the positions')
        list.write(words, 0)
        dispatch.bind(BufferIndex.SelectedPositions, list)
        await device.run(
          compiled({ ...shared, first: at(BufferIndex.SelectedPositions), positions: at(BufferIndex.SelectedPositions, 8) }),
          dispatch,
        )
        expect(memory.readFloats(0, rows * 2 * width)).toEqual(table)
        list.dispose()
        for (let row = 0; row < rows; row++) {
          for (let j = 0; j < width; j++) {
            const turns = (10000 ** ((-2 * (j % (width / 2))) / width) / (2 * Math.PI)) * (position + row)
            // a float64 knows the product of a large position to so many turns
            const slack = 2e-7 + 16 * Math.PI * Math.abs(turns) * 2 ** -52
            const angle = 2 * Math.PI * (turns % 1)
            expect(Math.abs(table[row * 2 * width + j]! - Math.cos(angle))).toBeLessThan(slack)
            expect(Math.abs(table[row * 2 * width + width + j]! - Math.sin(angle))).toBeLessThan(slack)
          }
        }
        program.dispose()
        memory.dispose()
      }
      weights.dispose()
    }
  })

  test('computes the cosine and sine of any float32 angle', async () => {
    const width = 12
    const angles = Float32Array.of(
      0,
      -0,
      1e-30,
      -1e-5,
      0.7853981,
      1,
      -3.1415927,
      6.2831855,
      100,
      -12345.678,
      1e7,
      3e9,
      -1e15,
      1e20,
      3e30,
      -3.4e38,
    )
    const values = Float32Array.from({ length: 4 * width }, (_, i) => angles[i % angles.length]!)
    for (const listed of [false, true]) {
      const make = (): OpCase<Opcode.RotaryFromAngles> => {
        const memory = new OpMemory()
        const output = memory.output(3 * 2 * width)
        const fields = {
          rows: memory.count(3),
          position: at(BufferIndex.DispatchHeader, DispatchHeader.Position * 4),
          indices: listed ? memory.input(Int32Array.of(3, 0, 2)) : undefined,
          angles: memory.input(values),
          output,
          width,
        }
        const chunk = { [DispatchHeader.Rows]: 3, [DispatchHeader.Position]: 1 }
        return { memory, opcode: Opcode.RotaryFromAngles, fields, chunk, floats: [output] }
      }
      await expectSameOp(device, make, listed ? 'listed' : 'in order', 2e-7)
    }
  })

  test('rotates heads of any width by shared or individual angles', async () => {
    for (const width of headWidths) {
      for (const own of [false, true]) {
        const make = (): OpCase<Opcode.Rotate> => {
          const { normal } = createRandom(width)
          const heads = 3
          const headStride = Math.ceil(width / 8) * 8
          const stride = heads * headStride + 8
          const tableWidth = own ? heads * width : width
          const memory = new OpMemory()
          const values = memory.inputOutput(Float32Array.from({ length: 4 * stride }, normal))
          const fields = {
            rows: memory.count(4),
            values,
            table: memory.input(Float32Array.from({ length: 6 * 2 * tableWidth }, normal)),
            indices: memory.input(Int32Array.of(5, 1, 1, 0)),
            stride,
            heads,
            headWidth: width,
            headStride,
            angleStride: own ? width : 0,
            tableWidth,
          }
          return { memory, opcode: Opcode.Rotate, fields, chunk: { [DispatchHeader.Rows]: 4 }, floats: [values] }
        }
        await expectSameOp(device, make, `width ${width}, angles ${own ? 'of each head' : 'shared'}`)
      }
    }
  })
})
