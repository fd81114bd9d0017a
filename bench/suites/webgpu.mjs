import { existsSync, readFileSync } from 'node:fs'
import { openWebGpu } from '../lib/gpu.mjs'
import { GpuClock } from '../lib/gpu-clock.mjs'
import { caption } from '../lib/machine.mjs'
import { matMulModel } from '../lib/onnx.mjs'
import { openOnnxRuntime } from '../lib/onnxruntime-webgpu.mjs'
import { built, layerFile } from '../lib/paths.mjs'
import { layerFlop, layerInput, layerOptions, layerParameters } from '../lib/recipe.mjs'
import { median, medianRatio, significant, times } from '../lib/statistics.mjs'
import { table } from '../lib/tables.mjs'

export const title = 'WebGPU'

/**
 * How much is done: fully, quickly, or where a processor plays GPU, which takes minutes for a product of 4096³.
 * Products of `busy` go before whatever is timed: a GPU that just idled runs at a fraction of its clock, and the host
 * needs a start.
 */
function effort(quick, software) {
  if (software) return { rounds: 1, warmUps: 1, busy: 256, sizes: [256], lengths: [1024] }
  if (quick) return { rounds: 3, warmUps: 1, busy: 4096, sizes: [256, 1024], lengths: [1024] }
  return { rounds: 20, warmUps: 10, busy: 4096, sizes: [256, 512, 1024, 2048, 4096, 8192], lengths: [1024, 4096, 16384, 65536] }
}

/** How far layers may differ, whose largest values are about 10. */
const TOLERANCE = 1e-3

/** A device with the default limits and a clock. */
async function openGpu({ WebGpuDevice }) {
  const adapter = await openWebGpu().requestAdapter({ powerPreference: 'high-performance' })
  if (!adapter?.features.has('timestamp-query')) return undefined
  const features = ['timestamp-query', 'subgroups'].filter((feature) => adapter.features.has(feature))
  const device = await adapter.requestDevice({ requiredFeatures: features })
  const { limits } = device
  const about = `${adapter.info.description || adapter.info.device}; default limits (${limits.maxComputeInvocationsPerWorkgroup} invocations and ${limits.maxComputeWorkgroupStorageSize} bytes a workgroup, ${limits.maxStorageBufferBindingSize >> 20} MiB a binding)`
  return { clock: new GpuClock(device), device: new WebGpuDevice(device, 8192), about, software: adapter.info.isFallbackAdapter }
}

async function milliseconds(work) {
  const start = performance.now()
  await work()
  return performance.now() - start
}

/** @returns the error, as a check that it was the thing itself that was timed */
function within(what, error, allowed) {
  if (!(error <= allowed)) throw new Error(`${what} is off by ${error}, where ${allowed} is allowed`)
  return error
}

/** Rounds of a product: milliseconds by the GPU's clock, and by the wall's of ours and of onnxruntime-web, in turn. */
async function measureProduct({ internals, clock, device, warmUp, rounds, onnxRuntime }, n) {
  const product = new internals.Products(device, n, n, n)
  const allowed = n * 1e-5
  const error = within(`the product of ${n}³`, await product.error(), allowed)
  const theirs = await onnxRuntime?.open(`the product of ${n}³`, matMulModel(n, n, n, product.b()), ['x', product.x, [n, n]], {
    resident: true,
  })
  if (theirs) {
    const off = product.errorOf((row, column) => theirs.first[row * n + column])
    within(`onnxruntime-web's product of ${n}³`, off, allowed)
  }
  const [gpu, wall, theirWall] = [[], [], []]
  for (let round = 0; round < rounds; round++) {
    await warmUp()
    gpu.push((await clock.measure(() => product.run())).total)
    wall.push(
      await milliseconds(async () => {
        await product.run()
        await device.gpu.queue.onSubmittedWorkDone()
      }),
    )
    if (theirs) theirWall.push(await milliseconds(() => theirs.run()))
  }
  await theirs?.dispose()
  product.dispose()
  return [
    `${n}³`,
    significant(median(gpu)),
    significant((2 * n ** 3) / median(gpu) / 1e9),
    ...besideTheirs(wall, theirWall),
    error.toExponential(1),
  ]
}

/**
 * Milliseconds of ours and of onnxruntime-web, and its time over ours; the latter two undefined where it did not run.
 */
const besideTheirs = (ours, theirs) => [
  significant(median(ours)),
  ...(theirs.length > 0 ? [significant(median(theirs)), times(medianRatio(theirs, ours))] : [undefined, undefined]),
]
/**
 * Rounds of the layer: on the GPU by its clock and by the wall's, on onnxruntime-web where it has that layer, and once
 * in WebAssembly.
 */
async function measureLayer({ internals, clock, warmUp, rounds, onnxRuntime, onGpu, onProcessor, selection }, n) {
  const data = layerInput(n)
  const x = new internals.Tensor(data, [1, n, layerOptions.dim])
  const [y, reference] = [await onGpu.forward(x), await onProcessor.forward(x)]
  const there = await milliseconds(() => onProcessor.forward(x))
  const published = selection === 'coordinate-descent' && existsSync(layerFile(n))
  const what = `the layer at n = ${n}`
  const theirs = published ? await onnxRuntime?.open(what, readFileSync(layerFile(n)), ['x', data, x.shape]) : undefined
  const off = (values) => values.reduce((most, value, i) => Math.max(most, Math.abs(value - reference.data[i])), 0)
  if (theirs) within(`onnxruntime-web's ${what}`, off(theirs.first), TOLERANCE)
  const [gpu, wall, theirWall] = [[], [], []]
  for (let round = 0; round < rounds; round++) {
    await warmUp()
    gpu.push(await clock.measure(() => onGpu.forward(x)))
    wall.push(await milliseconds(() => onGpu.forward(x)))
    if (theirs) theirWall.push(await milliseconds(() => theirs.run()))
  }
  await theirs?.dispose()
  const total = median(gpu.map((measured) => measured.total))
  const passes = median(gpu.map((measured) => measured.passes.reduce((sum, { time }) => sum + time, 0)))
  return [
    `${selection}, n = ${n}`,
    significant(total),
    significant(passes),
    layerFlop[n] ? significant(layerFlop[n] / total / 1e9) : undefined,
    ...besideTheirs(wall, theirWall),
    significant(there),
    times(there / median(wall)),
    within(what, off(y.data), TOLERANCE).toExponential(1),
  ]
}

export async function run({ quick, note }) {
  const internals = await import(built('internals.mjs'))
  const opened = await openGpu(internals).catch((error) => void note(`no WebGPU: ${error.message}`))
  if (!opened) {
    note('no GPU with a clock (the feature timestamp-query) here')
    return undefined
  }
  const { clock, device, about, software } = opened
  const { rounds, warmUps, busy, sizes, lengths } = effort(quick, software)
  const warm = new internals.Products(device, busy, busy, busy)
  const warmUp = async () => {
    for (let i = 0; i < warmUps; i++) await warm.run()
  }
  const bench = { internals, clock, device, warmUp, rounds, onnxRuntime: await openOnnxRuntime(note) }

  const products = []
  for (const n of sizes) products.push(await measureProduct(bench, n))

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
    for (const n of lengths) layers.push(await measureLayer({ ...bench, onGpu, onProcessor, selection }, n))
    onGpu.dispose()
    onProcessor.dispose()
  }
  await processor.dispose()
  return [
    `${about}. Medians of the rounds (${rounds}), by the GPU's own clock and by wall clock; products of ${busy}³ warm it up before each. onnxruntime-web's WebGPU provider runs on the same adapter, on a device of its own, alternating with ours. Operands and results of products stay in GPU memory.`,
    table(['product', 'GPU ms', 'TFLOP/s', 'wall ms', 'onnxruntime-web ms', 'its time / ours', 'largest error of 1,000'], products),
    'The layer of the table above: from the beginning of the first pass to the end of the last, the sum of the passes, and the whole call with its copies, against WebAssembly on one thread of the same machine, whose result the others are compared with.',
    table(
      [
        'layer',
        'GPU ms',
        'passes',
        'TFLOP/s',
        'wall ms',
        'onnxruntime-web ms',
        'its time / ours',
        'WebAssembly ms',
        'its time / ours',
        'difference',
      ],
      layers,
    ),
    caption(['onnxruntime-web']),
  ].join('\n\n')
}
