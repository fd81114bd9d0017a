/** Runs one step at a time, its operands anywhere in memory, and proves that it wrote nothing but what it may write. */
import { expect, vi } from 'vitest'
import { Buffer, type Opcode, Piece, TileShape } from '../../assembly/steps.js'
import { type CompiledProgram, type Device, type DeviceBuffer, Run } from '../../src/device/device.js'
import type { Runtime } from '../../src/device/runtime.js'
import type { WasmDevice } from '../../src/device/wasm/wasm-device.js'
import { at, type Operand, ProgramBuilder } from '../../src/plan/program-builder.js'
import { type BuildName, openRuntime } from '../support/runtimes.js'

// Tests of thousands of steps take a second, and many where others use the machine.
vi.setConfig({ testTimeout: 120_000 })

/** What memory holds where nothing was put: as a float a NaN that spreads into whatever reads it, as an index far beyond the memory. */
const SENTINEL = 0x7fdead01
/** Words of sentinel before and behind every operand, at least. */
const GUARD = 32

type Contents = Float32Array | Int32Array | Float64Array

/** Words of an operand that a step may write: `rows` of `width`, `stride` words from each other, from word `first` on. */
export interface Writable {
  readonly first?: number
  readonly rows?: number
  readonly width: number
  readonly stride?: number
}

/** An operand's place. */
export class Region implements Operand {
  readonly buffer = Buffer.Scratch

  constructor(
    readonly byteOffset: number,
    readonly words: number,
  ) {}

  /** The operand `words` further. */
  at(words: number): Operand {
    return at(this.buffer, this.byteOffset + words * 4)
  }
}

/** The operands of a step, each between guards. They keep their contents from one run to the next. */
export class StepMemory {
  #image: Int32Array = new Int32Array(0)
  /** 1 for each word that a step may write. */
  #writable = new Uint8Array(0)
  /** Words that operands and their guards take. */
  #used = GUARD
  /** What lies at the memory's end. */
  #last: Uint8Array | undefined

  /** @param misalignment bytes, a multiple of 4, that every operand lies behind a cache line's start */
  constructor(readonly misalignment = 0) {}

  /** What a step may only read. */
  input(values: Contents): Region {
    return this.inputOutput(values, [])
  }

  /** What a step may only read, at the very end of a runtime's memory: a read behind it traps. One operand; of a runtime that holds little else. */
  inputAtEnd(values: Contents): Operand {
    this.#last = new Uint8Array(values.slice().buffer)
    return at(Buffer.Weights, 0)
  }

  /** An operand of one integer. */
  count(value: number): Region {
    return this.input(Int32Array.of(value))
  }

  /** What a step writes; it holds sentinels. */
  output(words: number, writable: readonly Writable[] = [{ width: words }]): Region {
    return this.#place(words, writable)
  }

  /** What a step reads and writes. */
  inputOutput(values: Contents, writable: readonly Writable[] = [{ width: values.byteLength / 4 }]): Region {
    const region = this.#place(values.byteLength / 4, writable)
    this.set(region, values)
    return region
  }

  set(region: Region, values: Contents): void {
    this.#image.set(new Int32Array(values.slice().buffer), region.byteOffset / 4)
  }

  floats(region: Region): Float32Array {
    return new Float32Array(this.#words(region).buffer)
  }

  ints(region: Region): Int32Array {
    return this.#words(region)
  }

  doubles(region: Region): Float64Array {
    return new Float64Array(this.#words(region).buffer)
  }

  /**
   * Runs one step, every share of it.
   * @param words the step's, by their names; regions are operands
   * @param piece words of the piece header
   * @throws when the step wrote anything that it may not
   */
  run(
    runtime: Runtime,
    opcode: Opcode,
    length: number,
    words: Parameters<ProgramBuilder['step']>[2],
    piece: Readonly<Partial<Record<Piece, number>>> = {},
  ): void {
    const { device } = runtime
    const { program, memory, run } = this.#prepare(device, opcode, length, words, piece)
    try {
      device.runHere(program, run)
      this.#accept(memory.readInts(0, this.#used))
    } finally {
      memory.dispose()
      program.dispose()
    }
  }

  /** The same on a device that the caller must wait for. */
  async runOn(
    device: Device,
    opcode: Opcode,
    length: number,
    words: Parameters<ProgramBuilder['step']>[2],
    piece: Readonly<Partial<Record<Piece, number>>> = {},
  ): Promise<void> {
    const { program, memory, run } = this.#prepare(device, opcode, length, words, piece)
    try {
      run.results = [{ memory, byteOffset: 0, byteLength: this.#used * 4 }]
      await device.run(program, run)
      this.#accept(memory.readInts(0, this.#used))
    } finally {
      memory.dispose()
      program.dispose()
    }
  }

  #prepare(
    device: Device,
    opcode: Opcode,
    length: number,
    words: Parameters<ProgramBuilder['step']>[2],
    piece: Readonly<Partial<Record<Piece, number>>>,
  ): { program: CompiledProgram; memory: DeviceBuffer; run: Run } {
    const builder = new ProgramBuilder()
    builder.step(opcode, length, words)
    const program = device.compile(builder.finish())
    const memory = device.allocate(this.#used * 4, 'the operands of a step')
    memory.write(this.#image.subarray(0, this.#used), 0)
    const run = new Run()
    run.bind(Buffer.Scratch, memory)
    if (this.#last) run.bind(Buffer.Weights, putAtEnd(device as WasmDevice, this.#last))
    for (const [key, value] of Object.entries(piece)) {
      const word: Piece = Number(key)
      if (word === Piece.Position || word === Piece.WindowPosition) run.setPosition(word, value)
      else run.set(word, value)
    }
    return { program, memory, run }
  }

  #place(words: number, writable: readonly Writable[]): Region {
    const start = Math.ceil(this.#used / 16) * 16 + this.misalignment / 4
    this.#used = start + words + GUARD
    if (this.#used > this.#image.length) {
      const image = new Int32Array(this.#used * 2).fill(SENTINEL)
      image.set(this.#image)
      const flags = new Uint8Array(image.length)
      flags.set(this.#writable)
      this.#image = image
      this.#writable = flags
    }
    for (const { first = 0, rows = 1, width, stride = width } of writable) {
      for (let row = 0; row < rows; row++) this.#writable.fill(1, start + first + row * stride, start + first + row * stride + width)
    }
    return new Region(start * 4, words)
  }

  #words({ byteOffset, words }: Region): Int32Array {
    return this.#image.slice(byteOffset / 4, byteOffset / 4 + words)
  }

  #accept(after: Int32Array): void {
    const before = this.#image
    for (let i = 0; i < after.length; i++) {
      if (before[i] === after[i] || this.#writable[i]) continue
      throw new Error(`a step wrote where it may not: word ${i} of its memory was ${hex(before[i]!)} and became ${hex(after[i]!)}`)
    }
    before.set(after)
  }
}

function putAtEnd({ arena }: WasmDevice, bytes: Uint8Array): DeviceBuffer {
  const address = arena.bytes.byteLength - bytes.byteLength
  expect(arena.used + bytes.byteLength, 'the memory has a free end').toBeLessThan(arena.bytes.byteLength / 2)
  arena.bytes.set(bytes, address)
  return { address } as unknown as DeviceBuffer
}

function hex(word: number): string {
  return `0x${(word >>> 0).toString(16)}`
}

const opened = new Map<string, Runtime>()

/** A build's runtime that cuts each step into so many shares; the same one for every test of a file. */
export function runtimeOf(build: BuildName, shares = 1): Runtime {
  const key = `${build}/${shares}`
  let runtime = opened.get(key)
  if (!runtime) {
    runtime = openRuntime(build, shares)
    opened.set(key, runtime)
  }
  return runtime
}

/** Shares that results must not depend on. */
export const shareCounts: readonly number[] = [2, 3, 4, 5]

export const misalignments: readonly number[] = [0, 4, 8, 12]

/** Fails unless each share wrote to its part of `memory`: threads run shares at once, so none may work in another's. */
export function expectOwnMemory(memory: Int32Array, shares: number): void {
  for (let share = 0; share < shares; share++) {
    const part = memory.subarray((share * memory.length) / shares, ((share + 1) * memory.length) / shares)
    expect(
      part.some((word) => word !== SENTINEL),
      `share ${share} of ${shares} has memory of its own`,
    ).toBe(true)
  }
}

/** Calls `check` once for each shape of tiles that products can be cut into, with its name. */
export function inEveryShape({ device }: Runtime, check: (shape: string) => void): void {
  const tiles = device as WasmDevice
  const { tileShape } = tiles
  try {
    for (let shape: TileShape = 0; shape < TileShape.Length; shape++) {
      tiles.tileShape = shape
      check(TileShape[shape])
    }
  } finally {
    tiles.tileShape = tileShape
  }
}
