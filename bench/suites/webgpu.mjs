import { createRequire } from 'node:module'
import { GpuClock } from '../lib/gpu-clock.mjs'
import { caption } from '../lib/machine.mjs'
import { built } from '../lib/paths.mjs'
import { layerFlop, layerInput, layerOptions, layerParameters, uniform } from '../lib/recipe.mjs'
import { median, significant, times } from '../lib/statistics.mjs'
import { table } from '../lib/tables.mjs'

export const title = 'WebGPU'

/** Most bytes of one binding within WebGPU's default limits. */
const MOST_BYTES = 128 << 20
/** Products of 4096³ that go before whatever is timed: a GPU that just idled runs at a fraction of its clock, and the host needs a start. */
const WARM_UP = 10

/** A device with the default limits and a clock. DAWN names the .node file of npm's webgpu where the package is not installed. */
async function openGpu(internals) {
  const gpu =
    globalThis.navigator?.gpu ??
    createRequire(import.meta.url)(process.env.DAWN ?? 'webgpu').create(['disable-dawn-features=timestamp_quantization'])
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' })
  if (!adapter?.features.has('timestamp-query')) return undefined
  const device = await adapter.requestDevice({ requiredFeatures: ['timestamp-query'] })
  const { limits } = device
  const about = `${adapter.info.description || adapter.info.device}; default limits (${limits.maxComputeInvocationsPerWorkgroup} invocations and ${limits.maxComputeWorkgroupStorageSize} bytes a workgroup, ${limits.maxStorageBufferBindingSize >> 20} MiB a binding)`
  return { gpu, clock: new GpuClock(device), device: new internals.WebGpuDevice(device, 8192), about }
}

/** y (m, n) = x (m, k) · b (k, n), cut where a binding is too small for it. */
class Products {
  constructor({ WeightPlan, ProgramBuilder, Run, Opcode, Product, Buffer, Piece, at, float32Values }, device, m, k, n) {
    this.device = device
    this.size = [m, k, n]
    const halves = (rows, columns) => (rows * columns * 4 > MOST_BYTES ? 2 : 1)
    const [cutRows, cutColumns] = [Math.max(halves(m, k), halves(m, n)), halves(k, n)]
    const [rows, columns] = [m / cutRows, n / cutColumns]
    const plan = new WeightPlan()
    const operand = plan.linear('b', columns, k)
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
    builder.step(Opcode.Product, Product.Length, {
      [Product.Rows]: at(Buffer.Piece, Piece.Rows * 4),
      [Product.Input]: at(Buffer.Input),
      [Product.Weights]: operand,
      [Product.Output]: at(Buffer.Output),
      [Product.InputStride]: k,
      [Product.OutputStride]: columns,
      [Product.Depth]: k,
      [Product.Panels]: columns / 8,
    })
    this.program = device.compile(builder.finish())
    this.cuts = inputs.flatMap((input, row) =>
      weights.map((weight, column) => {
        const output = device.allocate(rows * columns * 4, 'y')
        const run = new Run()
        run.set(Piece.Rows, rows)
        run.bind(Buffer.Weights, weight)
        run.bind(Buffer.Input, input)
        run.bind(Buffer.Output, output)
        return { run, output, row: row * rows, column: column * columns, rows, columns }
      }),
    )
    this.memory = [...weights, ...inputs, ...this.cuts.map(({ output }) => output)]
  }

  run() {
    return this.device.run(
      this.program,
      this.cuts.map(({ run }) => run),
    )
  }

  /** The largest difference of 1,000 random elements from their float64 sums. */
  async error() {
    for (const { run, output } of this.cuts) run.results = [{ memory: output, byteOffset: 0, byteLength: output.byteLength }]
    await this.run()
    const [, k] = this.size
    const random = uniform(3000, 3, 0.5, 0.5)
    let largest = 0
    for (let i = 0; i < 1000; i++) {
      const cut = this.cuts[Math.floor(random[3 * i] * this.cuts.length)]
      const [row, column] = [Math.floor(random[3 * i + 1] * cut.rows), Math.floor(random[3 * i + 2] * cut.columns)]
      let sum = 0
      for (let j = 0; j < k; j++) sum += this.x[(cut.row + row) * k + j] * this.bTransposed[(cut.column + column) * k + j]
      const [value] = cut.output.readFloats((row * cut.columns + column) * 4, 1)
      largest = Math.max(largest, Math.abs(value - sum))
    }
    for (const { run } of this.cuts) run.results = []
    return largest
  }

  dispose() {
    for (const memory of this.memory) memory.dispose()
    this.program.dispose()
  }
}

export async function run({ quick, note }) {
  const internals = await import(built('internals.mjs'))
  const opened = await openGpu(internals).catch((error) => void note(`no WebGPU: ${error.message}`))
  if (!opened) {
    note('no GPU with a clock (the feature timestamp-query) here')
    return undefined
  }
  const { clock, device, about } = opened
  const rounds = quick ? 3 : 20
  const busy = new Products(internals, device, 4096, 4096, 4096)
  const warmUp = async () => {
    for (let i = 0; i < (quick ? 1 : WARM_UP); i++) await busy.run()
  }
  const sizes = quick ? [256, 1024] : [256, 512, 1024, 2048, 4096, 8192]
  const products = []
  for (const n of sizes) {
    const product = new Products(internals, device, n, n, n)
    const error = await product.error()
    const gpu = []
    const wall = []
    for (let round = 0; round < rounds; round++) {
      await warmUp()
      gpu.push((await clock.measure(() => product.run())).total)
      const start = performance.now()
      await product.run()
      await device.gpu.queue.onSubmittedWorkDone()
      wall.push(performance.now() - start)
    }
    const flop = 2 * n ** 3
    products.push([
      `${n}³`,
      significant(median(gpu)),
      significant(flop / median(gpu) / 1e9),
      significant(median(wall)),
      error.toExponential(1),
    ])
    product.dispose()
  }

  const { build } = await internals.chooseBuild('auto', false)
  const runtime = new internals.Runtime(build, {}, 1, { device, adapter: about, replaceable: false })
  const processor = await internals.createRuntime({ threads: 1 })
  const layers = []
  for (const selection of ['coordinate-descent', 'top-k']) {
    const [onGpu, onProcessor] = [runtime, processor].map((where) => {
      const layer = new internals.MixtureOfAutoregressiveAttention(where, { ...layerOptions, selection })
      layer.loadStateDict(new Map(layerParameters().map(([name, values, shape]) => [name, new internals.Tensor(values, shape)])))
      return layer
    })
    for (const n of quick ? [1024] : [1024, 4096, 16384, 65536]) {
      const x = new internals.Tensor(layerInput(n), [1, n, layerOptions.dim])
      const timed = async (layer) => {
        const start = performance.now()
        const y = await layer.forward(x)
        return { y, time: performance.now() - start }
      }
      await onGpu.forward(x)
      const gpu = []
      const wall = []
      for (let round = 0; round < rounds; round++) {
        await warmUp()
        gpu.push(await clock.measure(() => onGpu.forward(x)))
        wall.push((await timed(onGpu)).time)
      }
      await onProcessor.forward(x)
      const there = await timed(onProcessor)
      const { y } = await timed(onGpu)
      const difference = y.data.reduce((most, value, i) => Math.max(most, Math.abs(value - there.y.data[i])), 0)
      const total = median(gpu.map((measured) => measured.total))
      const passes = median(gpu.map((measured) => measured.passes.reduce((sum, { time }) => sum + time, 0)))
      layers.push([
        `${selection}, n = ${n}`,
        significant(total),
        significant(passes),
        layerFlop[n] ? significant(layerFlop[n] / total / 1e9) : undefined,
        significant(median(wall)),
        significant(there.time),
        times(there.time / median(wall)),
        difference.toExponential(1),
      ])
    }
    onGpu.dispose()
    onProcessor.dispose()
  }
  await processor.dispose()
  return [
    `${about}. Medians of ${rounds}, by the GPU's own clock, each after ${WARM_UP} products of 4096³.`,
    table(['product', 'GPU ms', 'TFLOP/s', 'wall ms', 'largest error of 1,000'], products),
    'The layer of the table above: from the beginning of the first pass to the end of the last, the sum of the passes, and the whole call with its copies; beside WebAssembly on one thread of the same machine.',
    table(['layer', 'GPU ms', 'passes', 'TFLOP/s', 'wall ms', 'WebAssembly ms', 'its time / ours', 'difference'], layers),
    caption(),
  ].join('\n\n')
}
