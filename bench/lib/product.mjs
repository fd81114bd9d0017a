import { built } from './paths.mjs'
import { uniform } from './recipe.mjs'

const { at, Buffer, float32Values, Opcode, Product, ProgramBuilder, Run, WeightFormat, WeightPlan } = await import(built('internals.mjs'))

/**
 * y (m, n) = x (m, k) · b (k, n) on a runtime of internals.mjs, as a program of one step for each piece of rows; b at random in float32, or one third all
 * over in another format.
 */
export function prepareProduct({ device }, m, k, n, format = WeightFormat.Float32) {
  const plan = new WeightPlan(() => format)
  const operand = plan.linear('b', n, k)
  const weights = device.packWeights(plan.finish(), () => {
    if (format !== WeightFormat.Float32) return { format, bytes: new Uint8Array(new Uint16Array(k * n).fill(0x3555).buffer) }
    const b = uniform(k * n, 2)
    const transposed = new Float32Array(k * n)
    for (let i = 0; i < k; i++) for (let j = 0; j < n; j++) transposed[j * k + i] = b[i * n + j]
    return float32Values(transposed)
  })
  const input = device.allocate(m * k * 4, 'x')
  input.write(uniform(m * k, 1), 0)
  const output = device.allocate(m * n * 4, 'y')
  const pieces = Math.ceil(m / device.pieceRows)
  const counts = device.allocate(pieces * 4, 'row counts')
  counts.write(
    Int32Array.from({ length: pieces }, (_, piece) => Math.min(device.pieceRows, m - piece * device.pieceRows)),
    0,
  )
  const builder = new ProgramBuilder()
  for (let piece = 0; piece < pieces; piece++) {
    const first = piece * device.pieceRows
    builder.step(Opcode.Product, Product.Length, {
      [Product.Rows]: at(Buffer.Call, piece * 4),
      [Product.Input]: at(Buffer.Input, first * k * 4),
      [Product.Weights]: operand,
      [Product.Output]: at(Buffer.Output, first * n * 4),
      [Product.InputStride]: k,
      [Product.OutputStride]: n,
      [Product.Depth]: k,
      [Product.Panels]: n / 8,
      [Product.Format]: operand.format,
    })
  }
  const program = device.compile(builder.finish())
  const binding = new Run()
  // as layers say it: what is too small for several threads is computed by one
  binding.work = 2 * m * k * n
  binding.bind(Buffer.Weights, weights)
  binding.bind(Buffer.Input, input)
  binding.bind(Buffer.Output, output)
  binding.bind(Buffer.Call, counts)
  return { run: () => device.run(program, binding), address: weights.address, read: () => output.readFloats(0, m * n) }
}
