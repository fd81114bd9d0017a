import { Opcode } from '../../../assembly/ir/ops.js'
import { Activation, TileShape, WeightFormat } from '../../../assembly/ir/values.js'
import { encodeOp } from '../../program/encode-op.js'
import { KernelTrial } from './kernel-trial.js'
import { chooseFastest } from './time-kernels.js'
import type { WasmDevice } from './wasm-device.js'

/** The tile shape for products and, if it was not timed, why. */
export interface TileChoice {
  readonly shape: TileShape
  readonly unavailable: string | undefined
}

/** Never much slower than the fastest on any engine measured (docs/measurements/zen5.md#tile-shapes). */
const DEFAULT = TileShape.Gemm6x8
/**
 * The product to time: 96 rows, depth 256, 24 panels; 9.4 MFLOP. Like a layer's, its operands fill much of a
 * second-level cache; within the first-level cache, shapes differ less than in practice
 * (docs/measurements/zen5.md#tile-shapes).
 */
const ROWS = 96
const DEPTH = 256
const PANELS = 24

/** Timed once per module, for all runtimes. */
const choices = new WeakMap<WebAssembly.Module, TileChoice>()

/**
 * Chooses the fastest shape on this engine and processor, by a few milliseconds of timing on `device`. All shapes give
 * the same bits; the choice affects only speed.
 * @param widens whether the engine was configured to combine 128-bit operations into 256-bit ones
 * @param now clock in milliseconds; if it does not advance during computation (deployed edge workers) or is too coarse,
 * the default is used
 */
export function chooseTile(module: WebAssembly.Module, device: WasmDevice, widens: boolean, now = () => performance.now()): TileChoice {
  let choice = choices.get(module)
  if (!choice) {
    choice = timeShapes(device, widens, now)
    choices.set(module, choice)
  }
  return choice
}

function timeShapes(device: WasmDevice, widens: boolean, now: () => number): TileChoice {
  const shapes = [TileShape.Gemm6x8, TileShape.Gemm6x8Unrolled, TileShape.Gemm2x24, TileShape.Gemm2x24Unrolled]
  if (widens) shapes.push(TileShape.Gemm6x16)
  const trial = createTrial(device)
  try {
    const { choice, unavailable } = chooseFastest(
      shapes,
      DEFAULT,
      (shape) => {
        device.tileShape = shape
        trial.run()
      },
      now,
    )
    return { shape: choice, unavailable }
  } finally {
    trial.dispose()
  }
}

/** A product of zeros. */
function createTrial(device: WasmDevice): KernelTrial {
  const trial = new KernelTrial(device)
  return trial.compile(
    encodeOp(Opcode.Matmul, {
      rows: trial.values(Int32Array.of(ROWS)),
      input: trial.zeros(ROWS * DEPTH * 4),
      weights: trial.zeros(PANELS * DEPTH * 32),
      output: trial.zeros(ROWS * PANELS * 32),
      inputStride: DEPTH,
      outputStride: PANELS * 8,
      depth: DEPTH,
      panels: PANELS,
      activation: Activation.None,
      format: WeightFormat.Float32,
    }),
  )
}

/** The name of a tile shape in `runtime.info`. */
export function tileName(shape: TileShape, fused: boolean): string {
  const rows = fused ? 6 : 5
  return {
    [TileShape.Gemm6x8]: `${rows}x8`,
    [TileShape.Gemm6x8Unrolled]: `${rows}x8 unrolled`,
    [TileShape.Gemm2x24]: '2x24',
    [TileShape.Gemm2x24Unrolled]: '2x24 unrolled',
    [TileShape.Gemm6x16]: `${rows}x16 in 256 bits`,
    [TileShape.Length]: '',
  }[shape]
}

/** The name of the single-row kernel, which unrolls k as the tile does. */
export function rowName(shape: TileShape): string {
  return shape === TileShape.Gemm6x8 || shape === TileShape.Gemm2x24 ? '1x32' : '1x32 unrolled'
}
