import { BufferIndex } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import { Activation } from '../../assembly/ir/values.js'
import { type DeviceBuffer, Dispatch, float32Values, WeightFormat } from '../../src/device/device.js'
import type { Runtime } from '../../src/device/runtime.js'
import { WeightPlan } from '../../src/plan/memory/weight-plan.js'
import { ProgramBuilder } from '../../src/plan/ops/program-builder.js'
import { linear } from '../../src/plan/parameters.js'
import { at } from '../../src/program/operand.js'
import { uniform } from '../lib/recipe.mjs'

/**
 * y (m, n) = x (m, k) · b (k, n), as a program of one op for each chunk of rows; b at random in float32, or one third
 * all over in another format.
 */
export function prepareProduct({ device }: Runtime, m: number, k: number, n: number, format: WeightFormat = WeightFormat.Float32) {
  const plan = new WeightPlan(() => format)
  const operand = plan.pack(linear('b', n, k))
  const weights = device.packWeights(plan.finish(), () => {
    if (format !== WeightFormat.Float32) return { format, bytes: new Uint8Array(new Uint16Array(k * n).fill(0x3555).buffer) }
    const b = uniform(k * n, 2)
    const transposed = new Float32Array(k * n)
    for (let i = 0; i < k; i++) for (let j = 0; j < n; j++) transposed[j * k + i] = b[i * n + j]!
    return float32Values(transposed)
  })
  const input = device.allocate(m * k * 4, 'x')
  input.write(uniform(m * k, 1), 0)
  const output = device.allocate(m * n * 4, 'y')
  const chunks = Math.ceil(m / device.chunkRows)
  const counts = device.allocate(chunks * 4, 'row counts')
  counts.write(
    Int32Array.from({ length: chunks }, (_, chunk) => Math.min(device.chunkRows, m - chunk * device.chunkRows)),
    0,
  )
  const builder = new ProgramBuilder()
  for (let chunk = 0; chunk < chunks; chunk++) {
    const first = chunk * device.chunkRows
    builder.op(Opcode.Matmul, {
      rows: at(BufferIndex.Call, chunk * 4),
      input: at(BufferIndex.Input, first * k * 4),
      weights: operand,
      output: at(BufferIndex.Output, first * n * 4),
      inputStride: k,
      outputStride: n,
      depth: k,
      panels: n / 8,
      activation: Activation.None,
      format: operand.format,
    })
  }
  const program = device.compile(builder.finish())
  const dispatch = new Dispatch()
  // as layers say it: what is too small for several threads is computed by one
  dispatch.operations = 2 * m * k * n
  dispatch.bind(BufferIndex.Weights, weights)
  dispatch.bind(BufferIndex.Input, input)
  dispatch.bind(BufferIndex.Output, output)
  dispatch.bind(BufferIndex.Call, counts)
  return {
    run: () => device.run(program, dispatch),
    address: (weights as DeviceBuffer & { readonly address: number }).address,
    read: () => output.readFloats(0, m * n),
  }
}
