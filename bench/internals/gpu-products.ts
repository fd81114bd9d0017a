import { BufferIndex, DispatchHeader } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import { Activation } from '../../assembly/ir/values.js'
import { type CompiledProgram, type DeviceBuffer, Dispatch, float32Values } from '../../src/device/device.js'
import type { WebGpuDevice } from '../../src/device/webgpu/webgpu-device.js'
import { WeightPlan } from '../../src/plan/memory/weight-plan.js'
import { ProgramBuilder } from '../../src/plan/ops/program-builder.js'
import { linear } from '../../src/plan/parameters.js'
import { at } from '../../src/program/operand.js'
import { uniform } from '../lib/recipe.mjs'

/** Most bytes of one binding within WebGPU's default limits. */
const MAX_BYTES = 128 << 20

/** A part of the result, computed on its own. */
interface Cut {
  readonly dispatch: Dispatch
  readonly output: DeviceBuffer
  readonly row: number
  readonly column: number
  readonly rows: number
  readonly columns: number
}

/** y (m, n) = x (m, k) · b (k, n) on a GPU, cut where a binding is too small for it. */
export class Products {
  readonly device: WebGpuDevice
  readonly size: readonly [m: number, k: number, n: number]
  readonly x: Float32Array
  readonly bTransposed: Float32Array
  readonly program: CompiledProgram
  readonly cuts: readonly Cut[]
  readonly memory: readonly DeviceBuffer[]

  constructor(device: WebGpuDevice, m: number, k: number, n: number) {
    this.device = device
    this.size = [m, k, n]
    const halves = (rows: number, columns: number) => (rows * columns * 4 > MAX_BYTES ? 2 : 1)
    const [cutRows, cutColumns] = [Math.max(halves(m, k), halves(m, n)), halves(k, n)]
    const [rows, columns] = [m / cutRows, n / cutColumns]
    const plan = new WeightPlan()
    const operand = plan.pack(linear('b', columns, k))
    const layout = plan.finish()
    this.x = uniform(m * k, 1)
    this.bTransposed = uniform(n * k, 2)
    const weights = Array.from({ length: cutColumns }, (_, i) =>
      device.packWeights(layout, () => float32Values(this.bTransposed.subarray(i * columns * k, (i + 1) * columns * k))),
    )
    const inputs = Array.from({ length: cutRows }, (_, i) => {
      const input = device.allocate(rows * k * 4, 'x')
      input.write(this.x.subarray(i * rows * k, (i + 1) * rows * k), 0)
      return input
    })
    const builder = new ProgramBuilder()
    builder.op(Opcode.Matmul, {
      rows: at(BufferIndex.DispatchHeader, DispatchHeader.Rows * 4),
      input: at(BufferIndex.Input),
      weights: operand,
      output: at(BufferIndex.Output),
      inputStride: k,
      outputStride: columns,
      depth: k,
      panels: columns / 8,
      activation: Activation.None,
      format: operand.format,
    })
    this.program = device.compile(builder.finish())
    this.cuts = inputs.flatMap((input, row) =>
      weights.map((weight, column) => {
        const output = device.allocate(rows * columns * 4, 'y')
        const dispatch = new Dispatch()
        dispatch.set(DispatchHeader.Rows, rows)
        dispatch.bind(BufferIndex.Weights, weight)
        dispatch.bind(BufferIndex.Input, input)
        dispatch.bind(BufferIndex.Output, output)
        return { dispatch, output, row: row * rows, column: column * columns, rows, columns }
      }),
    )
    this.memory = [...weights, ...inputs, ...this.cuts.map(({ output }) => output)]
  }

  /** b (k, n), row-major. */
  b(): Float32Array {
    const [, k, n] = this.size
    const b = new Float32Array(k * n)
    for (let j = 0; j < n; j++) for (let i = 0; i < k; i++) b[i * n + j] = this.bTransposed[j * k + i]!
    return b
  }

  async run(): Promise<void> {
    await this.device.run(
      this.program,
      this.cuts.map(({ dispatch }) => dispatch),
    )
    this.device.queue.flush()
  }

  /** The largest difference of 1,000 random elements from their float64 sums. */
  async error(): Promise<number> {
    for (const { dispatch, output } of this.cuts) dispatch.readbacks = [{ memory: output, byteOffset: 0, byteLength: output.byteLength }]
    await this.run()
    for (const { dispatch } of this.cuts) dispatch.readbacks = []
    return this.errorOf((row, column) => {
      const cut = this.cuts.find((cut) => row - cut.row < cut.rows && column - cut.column < cut.columns)!
      return cut.output.readFloats(((row - cut.row) * cut.columns + column - cut.column) * 4, 1)[0]!
    })
  }

  /** The same for any result. @param at (row, column) => its element */
  errorOf(at: (row: number, column: number) => number): number {
    const [m, k, n] = this.size
    const random = uniform(2000, 3, 0.5, 0.5)
    let largest = 0
    for (let i = 0; i < 1000; i++) {
      const [row, column] = [Math.floor(random[2 * i]! * m), Math.floor(random[2 * i + 1]! * n)]
      let sum = 0
      for (let j = 0; j < k; j++) sum += this.x[row * k + j]! * this.bTransposed[column * k + j]!
      largest = Math.max(largest, Math.abs(at(row, column) - sum))
    }
    return largest
  }

  dispose(): void {
    for (const memory of this.memory) memory.dispose()
    this.program.dispose()
  }
}
