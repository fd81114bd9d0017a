/*
 * One product of the package, as a program of one step for each piece of rows; and what the processor can do at most, in the same process.
 */
import { writeFileSync } from 'node:fs'
import { openCeiling } from '../lib/ceiling.mjs'
import { built } from '../lib/paths.mjs'
import { uniform } from '../lib/recipe.mjs'
import { secondsEach, serve } from '../lib/serve.mjs'

const { at, Buffer, createRuntime, float32Values, Opcode, PIECE_ROWS, Product, ProgramBuilder, Run, WeightFormat, WeightPlan } =
  await import(built('internals.mjs'))

let runtime
let ceiling
/** By weight format: the product that was prepared, and its packed weights for the plain sum. */
const prepared = new Map()
let run
let weights

serve({
  async open({ threads = 1, simd = 'auto', revectorize = false }) {
    runtime = await createRuntime({ threads, simd, revectorize })
    ceiling = openCeiling(runtime.info.simd, runtime.device.arena.memory)
    return runtime.info
  },

  /** Prepares y (m, n) = x (m, k) · b (k, n) and computes it once; b at random in float32, or one third all over in float16. */
  async prepare(m, k, n, output, format = WeightFormat.Float32) {
    const { device } = runtime
    const plan = new WeightPlan(() => format)
    const operand = plan.linear('b', n, k)
    weights = device.packWeights(plan.finish(), () => {
      if (format !== WeightFormat.Float32) return { format, bytes: new Uint8Array(new Uint16Array(k * n).fill(0x3555).buffer) }
      const b = uniform(k * n, 2)
      const transposed = new Float32Array(k * n)
      for (let i = 0; i < k; i++) for (let j = 0; j < n; j++) transposed[j * k + i] = b[i * n + j]
      return float32Values(transposed)
    })
    const input = device.allocate(m * k * 4, 'x')
    input.write(uniform(m * k, 1), 0)
    const result = device.allocate(m * n * 4, 'y')
    const pieces = Math.ceil(m / PIECE_ROWS)
    const counts = device.allocate(pieces * 4, 'row counts')
    counts.write(
      Int32Array.from({ length: pieces }, (_, piece) => Math.min(PIECE_ROWS, m - piece * PIECE_ROWS)),
      0,
    )
    const builder = new ProgramBuilder()
    for (let piece = 0; piece < pieces; piece++) {
      const first = piece * PIECE_ROWS
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
    binding.bind(Buffer.Weights, weights)
    binding.bind(Buffer.Input, input)
    binding.bind(Buffer.Output, result)
    binding.bind(Buffer.Call, counts)
    run = () => device.run(program, binding)
    prepared.set(format, { run, weights })
    await run()
    if (output) writeFileSync(output, result.readFloats(0, m * n))
  },

  /** Goes back to what was prepared last with this format. */
  choose: (format) => void ({ run, weights } = prepared.get(format)),

  time: (seconds) => secondsEach(run, seconds),
  ceiling: (seconds) => ceiling.flops(seconds),
  sum: (byteLength, seconds) => secondsEach(() => void ceiling.sum(weights.address, byteLength), seconds),
})
