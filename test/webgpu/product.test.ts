import { beforeAll, describe, expect, test } from 'vitest'
import { BufferIndex, DispatchHeader } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import { Activation } from '../../assembly/ir/values.js'
import { float32Values, Dispatch } from '../../src/device/device.js'
import type { WebGpuDevice } from '../../src/device/webgpu/webgpu-device.js'
import { ProgramBuilder } from '../../src/plan/ops/program-builder.js'
import { at } from '../../src/program/operand.js'
import { WeightPlan } from '../../src/plan/memory/weight-plan.js'
import { linear, vector } from '../../src/plan/parameters.js'
import { createRandom } from '../../src/random.js'
import { productSizes } from '../kernels/op-cases.js'
import { noAdapter, openDevice } from './gpu.js'

interface Options {
  readonly rows: number
  readonly depth: number
  readonly columns: number
  readonly bias?: boolean
  readonly gelu?: boolean
  readonly adds?: boolean
  /** What the host takes the rows to be, at most; the GPU reads how many there are. */
  readonly most?: number
}

const roundUp = (value: number) => Math.ceil(value / 8) * 8
const values = (length: number, seed: number) => Float32Array.from({ length }, createRandom(seed).normal)

function erf(x: number): number {
  // the series, for the small values here
  let [sum, term] = [x, x]
  for (let n = 1; n < 200; n++) {
    term *= (-x * x) / n
    sum += term / (2 * n + 1)
  }
  return (2 / Math.sqrt(Math.PI)) * sum
}

async function multiply(device: WebGpuDevice, { rows, depth, columns, bias = false, gelu = false, adds = false, most = rows }: Options) {
  const plan = new WeightPlan()
  const b = values(columns * depth, 1).map((value) => value / Math.sqrt(depth || 1))
  const weights = plan.pack(linear('b', columns, depth))
  const biases = plan.pack(vector('bias', columns))
  const packed = device.packWeights(plan.finish(), (name) => float32Values(name === 'b' ? b : values(columns, 2)))
  const [inputStride, outputStride] = [roundUp(depth) + 8, roundUp(columns)]
  const a = values(rows * inputStride, 3)
  const base = values(rows * outputStride, 4)
  const input = device.allocate(Math.max(a.byteLength, 16), 'a')
  const output = device.allocate(Math.max(base.byteLength, 16), 'c')
  const count = device.allocate(64, 'the count')
  input.write(a, 0)
  output.write(base, 0)
  count.write(Int32Array.of(rows), 0)
  const builder = new ProgramBuilder()
  builder.op(Opcode.Matmul, {
    rows: at(BufferIndex.Call),
    input: at(BufferIndex.Input),
    weights,
    output: at(BufferIndex.Output),
    bias: bias ? biases : undefined,
    addTo: adds ? at(BufferIndex.Output) : undefined,
    inputStride,
    outputStride,
    depth,
    panels: outputStride / 8,
    activation: gelu ? Activation.Gelu : Activation.None,
    format: weights.format,
  })
  const program = device.compile(builder.finish())
  const dispatch = new Dispatch()
  dispatch.set(DispatchHeader.Rows, most)
  dispatch.bind(BufferIndex.Weights, packed)
  dispatch.bind(BufferIndex.Input, input)
  dispatch.bind(BufferIndex.Output, output)
  dispatch.bind(BufferIndex.Call, count)
  dispatch.readbacks = [{ memory: output, byteOffset: 0, byteLength: output.byteLength }]
  await device.run(program, dispatch)
  const result = output.readFloats(0, rows * outputStride)
  const expected = Float64Array.from(result, (_, i) => {
    const [row, column] = [Math.floor(i / outputStride), i % outputStride]
    if (column >= columns) return adds ? base[i]! : 0
    let sum = 0
    for (let k = 0; k < depth; k++) sum += a[row * inputStride + k]! * b[column * depth + k]!
    if (bias) sum += values(columns, 2)[column]!
    if (gelu) sum *= 0.5 * (1 + erf(sum / Math.SQRT2))
    return adds ? base[i]! + sum : sum
  })
  for (const memory of [packed, input, output, count]) memory.dispose()
  program.dispose()
  return { result, expected }
}

function expectClose(result: Float32Array, expected: Float64Array, about: string): void {
  for (let i = 0; i < result.length; i++) {
    if (!(Math.abs(result[i]! - expected[i]!) < 4e-6)) expect.fail(`${about}, value ${i}: expected ${expected[i]}, got ${result[i]}`)
  }
}

describe.skipIf(noAdapter)('products on a GPU', () => {
  let device: WebGpuDevice
  beforeAll(async () => void (device = await openDevice()))

  test('of any size are correct, with bias, GELU and addition', async () => {
    for (const [rows, depth, columns] of productSizes) {
      const { result, expected } = await multiply(device, { rows, depth, columns })
      expectClose(result, expected, `${rows} × ${depth} × ${columns}`)
    }
    for (const options of [
      { bias: true, gelu: true },
      { adds: true, bias: true },
    ]) {
      const { result, expected } = await multiply(device, { rows: 7, depth: 33, columns: 72, ...options })
      expectClose(result, expected, JSON.stringify(options))
    }
  })

  test('have the same bits in tiles of every shape', async () => {
    const size = { rows: 3, depth: 45, columns: 104 }
    const { result } = await multiply(device, size)
    // as many rows as the host thinks there may be decide the shape
    for (const most of [4, 16, 60, 200, 1024, 40_000]) {
      expect((await multiply(device, { ...size, most })).result, `planned for ${most} rows`).toEqual(result)
    }
  })
})
