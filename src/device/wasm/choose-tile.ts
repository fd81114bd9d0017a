import { BufferIndex } from '../../../assembly/ir/header.js'
import { Opcode } from '../../../assembly/ir/ops.js'
import { Activation, TileShape, WeightFormat } from '../../../assembly/ir/values.js'
import { encodeOp } from '../../program/encode-op.js'
import { at } from '../../program/operand.js'
import { Dispatch } from '../device.js'
import type { WasmDevice } from './wasm-device.js'

/** The tile shape for products and, if it was not timed, why. */
export interface TileChoice {
  readonly shape: TileShape
  readonly unavailable: string | undefined
}

/** Never much slower than the fastest on any engine measured (docs/measurements/zen5.md#tile-shapes). */
const DEFAULT = TileShape.Gemm6x8
/**
 * Timing limits in milliseconds, once per process: at least the first; then until no shape has improved for the second;
 * at most the third. Engines reach full speed within 6 ms (V8 13 and later) to 25 ms (Deno, Bun), 17 ms on a slow
 * processor and longer on a busy one; choosing earlier would compare their baseline compilers.
 */
const AT_LEAST = 20
const SETTLED = 10
const AT_MOST = 80
/**
 * A shape this many times slower than the fastest is still in the baseline compiler, which is five times slower;
 * compiled, none is slower than 2.3 times.
 */
const UNCOMPILED = 3
/** An improvement by this factor means that the engine recompiled; less may be timer noise. */
const FASTER = 0.93
/** A shape must beat the default by this factor, so that noise alone changes nothing. */
const GAIN = 0.98
/** Timer resolution in milliseconds above which a call of about 0.2 ms cannot be timed to a few percent. */
const COARSE = 0.025
/** Number of equal readings after which a clock is considered stopped. */
const READINGS = 10_000

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
  const tick = tickOf(now)
  if (tick > COARSE) {
    const why = tick === Infinity ? 'does not advance while this engine computes' : `ticks only every ${tick.toFixed(2)} ms`
    return { shape: DEFAULT, unavailable: `the clock ${why}, so the default tile shape is used without timing` }
  }
  const shapes = [TileShape.Gemm6x8, TileShape.Gemm6x8Unrolled, TileShape.Gemm2x24, TileShape.Gemm2x24Unrolled]
  if (widens) shapes.push(TileShape.Gemm6x16)
  const trial = new Trial(device)
  try {
    const best = new Map(shapes.map((shape) => [shape, Infinity]))
    const start = now()
    let time = start
    let changed = start
    const isCompiled = () => Math.max(...best.values()) < UNCOMPILED * Math.min(...best.values())
    while (time - start < AT_LEAST || (time - start < AT_MOST && (time - changed < SETTLED || !isCompiled()))) {
      // interleaved, so that a slow phase of the machine affects all shapes
      for (const shape of shapes) {
        trial.run(shape)
        const end = now()
        const before = best.get(shape)!
        if (end - time < FASTER * before) changed = end
        best.set(shape, Math.min(before, end - time))
        time = end
      }
    }
    const fastest = shapes.reduce((a, b) => (best.get(b)! < best.get(a)! ? b : a))
    const shape = best.get(fastest)! < GAIN * best.get(DEFAULT)! ? fastest : DEFAULT
    return { shape, unavailable: undefined }
  } finally {
    trial.dispose()
  }
}

/** The clock's smallest step in milliseconds; Infinity if it does not advance. */
function tickOf(now: () => number): number {
  const start = now()
  for (let reading = 0; reading < READINGS; reading++) {
    const passed = now() - start
    if (passed > 0) return passed
  }
  return Infinity
}

/** A product to time. */
class Trial {
  readonly #device: WasmDevice
  readonly #memory
  readonly #program
  readonly #dispatch = new Dispatch()

  constructor(device: WasmDevice) {
    this.#device = device
    const input = 64
    const weights = input + ROWS * DEPTH * 4
    const output = weights + PANELS * DEPTH * 32
    this.#memory = device.allocate(output + ROWS * PANELS * 32, 'the product that kernels are timed on')
    this.#memory.clear()
    this.#memory.write(Int32Array.of(ROWS), 0)
    const words = encodeOp(Opcode.Matmul, {
      rows: at(BufferIndex.Scratch),
      input: at(BufferIndex.Scratch, input),
      weights: at(BufferIndex.Scratch, weights),
      output: at(BufferIndex.Scratch, output),
      inputStride: DEPTH,
      outputStride: PANELS * 8,
      depth: DEPTH,
      panels: PANELS,
      activation: Activation.None,
      format: WeightFormat.Float32,
    })
    this.#program = device.compile({ words: Int32Array.of(...words, Opcode.End) })
    this.#dispatch.bind(BufferIndex.Scratch, this.#memory)
  }

  run(shape: TileShape): void {
    this.#device.tileShape = shape
    this.#device.runSync(this.#program, this.#dispatch)
  }

  dispose(): void {
    this.#program.dispose()
    this.#memory.dispose()
  }
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
