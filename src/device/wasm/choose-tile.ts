import { BufferIndex, Opcode, Matmul, TileShape } from '../../../assembly/ops.js'
import { Dispatch } from '../device.js'
import type { WasmDevice } from './wasm-device.js'

/** Which shape of tile products are cut into, and if it was not timed, why. */
export interface TileChoice {
  readonly shape: TileShape
  readonly unavailable: string | undefined
}

/** Never the slowest by far on any engine measured (docs/measurements/zen5.md#tile-shapes). */
const DEFAULT = TileShape.Gemm6x8
/**
 * Milliseconds that timing takes, once a process: at least the first, then until no shape has become faster for the
 * second, at most the third. Engines come to their full speed within 6 (V8 13 and later) to 25 (Deno, Bun) of them, 17
 * on a slow processor and more on a busy one; a choice before that is one among their baseline compilers.
 */
const AT_LEAST = 20
const SETTLED = 10
const AT_MOST = 80
/**
 * A shape that takes so many times as long as the fastest is still in the baseline compiler, which takes five;
 * compiled, none takes more than 2.3.
 */
const UNCOMPILED = 3
/** A time that is so much shorter is the engine's doing and not the clock's. */
const FASTER = 0.93
/** A shape must be so much faster than the default to be taken, so that noise alone changes nothing. */
const GAIN = 0.98
/** Milliseconds of a clock's tick beyond which a call of about 0.2 ms cannot be timed to a few percent. */
const COARSE = 0.025
/** Readings of a clock after which it is said to stand still. */
const READINGS = 10_000

/**
 * The product that is timed: 96 rows, 256 deep, 24 panels; 9.4 MFLOP. Its operands fill much of a second-level cache,
 * as a layer's do: in the first-level cache alone shapes look closer than they are
 * (docs/measurements/zen5.md#tile-shapes).
 */
const ROWS = 96
const DEPTH = 256
const PANELS = 24

/** One timing serves every runtime on a module. */
const choices = new WeakMap<WebAssembly.Module, TileChoice>()

/**
 * The fastest shape on this engine and processor, by a few milliseconds of timing on `device`. All give the same bits,
 * so what is chosen shows in the speed alone.
 * @param widens whether the engine was told to join 128-bit operations to 256-bit ones
 * @param now a clock in milliseconds; where it stands still during computation (deployed edge workers) or ticks too
 * slowly, the default is taken
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
    const why = tick === Infinity ? 'stands still while this engine computes' : `ticks only every ${tick.toFixed(2)} ms`
    return { shape: DEFAULT, unavailable: `the clock ${why}, so the tile's shape is the default and was not timed` }
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
      // in turn, so that a slower moment of the machine meets all of them
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

/** The clock's smallest step in milliseconds, Infinity where it stands still. */
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
    const words = new Int32Array(Matmul.Length + 1)
    words[0] = Opcode.Matmul
    words[1] = Matmul.Length
    const operands = [
      [Matmul.Rows, 0],
      [Matmul.Input, input],
      [Matmul.Weights, weights],
      [Matmul.Output, output],
    ] as const
    for (const [word, byteOffset] of operands) {
      words[word] = BufferIndex.Scratch
      words[word + 1] = byteOffset
    }
    words[Matmul.InputStride] = DEPTH
    words[Matmul.OutputStride] = PANELS * 8
    words[Matmul.Depth] = DEPTH
    words[Matmul.Panels] = PANELS
    words[Matmul.Length] = Opcode.End
    this.#program = device.compile({ words })
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

/** How `runtime.info` names a shape. */
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

/** How it names what takes a single row, which goes through k as the shape does. */
export function rowName(shape: TileShape): string {
  return shape === TileShape.Gemm6x8 || shape === TileShape.Gemm2x24 ? '1x32' : '1x32 unrolled'
}
