/** Runs one op at a time, its operands at any alignment, and checks that it wrote only what it may write. */
import { expect } from 'vitest'
import { BufferIndex, DispatchHeader } from '../../assembly/ir/header.js'
import { TileShape } from '../../assembly/ir/values.js'
import { type CompiledProgram, type Device, type DeviceBuffer, Dispatch } from '../../src/device/device.js'
import type { Runtime } from '../../src/device/runtime.js'
import type { WasmDevice } from '../../src/device/wasm/wasm-device.js'
import { ProgramBuilder } from '../../src/plan/ops/program-builder.js'
import type { OpName } from '../../src/program/encode-op.js'
import type { OpFields } from '../../src/program/op-fields.js'
import { at, type Operand } from '../../src/program/operand.js'
import { type BuildName, openRuntime } from '../support/runtimes.js'

// Tests of thousands of ops take a second, and many where others use the machine.

/**
 * What memory holds outside operands: as a float, a NaN that propagates to all that is computed from it; as an index,
 * one far out of bounds.
 */
const SENTINEL = 0x7fdead01
/** Minimum words of sentinel before and after every operand. */
const GUARD = 32

type Contents = Float32Array | Int32Array | Float64Array

/**
 * Words of an operand that an op may write: `rows` rows of `width`, `stride` words apart, from word `first` on.
 */
export interface Writable {
  readonly first?: number
  readonly rows?: number
  readonly width: number
  readonly stride?: number
}

/** An operand in the memory. */
export class Region implements Operand {
  readonly buffer = BufferIndex.Scratch

  constructor(
    readonly byteOffset: number,
    readonly words: number,
  ) {}

  /** The operand `words` further. */
  at(words: number): Operand {
    return at(this.buffer, this.byteOffset + words * 4)
  }
}

/** The operands of an op, each between guards. They keep their contents from one run to the next. */
export class OpMemory {
  #image: Int32Array = new Int32Array(0)
  /** 1 for each word that an op may write. */
  #writable = new Uint8Array(0)
  /** Words taken by operands and their guards. */
  #used = GUARD
  /** What is put at the memory's end. */
  #last: Uint8Array | undefined

  /** @param misalignment bytes, a multiple of 4, by which every operand is offset from a cache line's start */
  constructor(readonly misalignment = 0) {}

  /** What an op may only read. */
  input(values: Contents): Region {
    return this.inputOutput(values, [])
  }

  /**
   * What an op may only read, at the very end of a runtime's memory: a read past it traps. Only one operand, and only in a
   * runtime that holds little else.
   */
  inputAtEnd(values: Contents): Operand {
    this.#last = new Uint8Array(values.slice().buffer)
    return at(BufferIndex.Weights, 0)
  }

  /** An operand of one integer. */
  count(value: number): Region {
    return this.input(Int32Array.of(value))
  }

  /** What an op writes; filled with sentinels. */
  output(words: number, writable: readonly Writable[] = [{ width: words }]): Region {
    return this.#place(words, writable)
  }

  /** What an op reads and writes. */
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
   * Runs one op, every partition of it.
   * @param fields regions are operands
   * @param chunk words of the dispatch header
   * @throws when the op wrote anything that it may not
   */
  run<O extends OpName>(
    runtime: Runtime,
    opcode: O,
    fields: OpFields[O],
    chunk: Readonly<Partial<Record<DispatchHeader, number>>> = {},
  ): void {
    const { device } = runtime
    const { program, memory, dispatch } = this.#prepare(device, opcode, fields, chunk)
    try {
      device.runSync(program, dispatch)
      this.#accept(memory.readInts(0, this.#used))
    } finally {
      memory.dispose()
      program.dispose()
    }
  }

  /** The same on a device whose results must be awaited. */
  async runOn<O extends OpName>(
    device: Device,
    opcode: O,
    fields: OpFields[O],
    chunk: Readonly<Partial<Record<DispatchHeader, number>>> = {},
  ): Promise<void> {
    const { program, memory, dispatch } = this.#prepare(device, opcode, fields, chunk)
    try {
      dispatch.readbacks = [{ memory, byteOffset: 0, byteLength: this.#used * 4 }]
      await device.run(program, dispatch)
      this.#accept(memory.readInts(0, this.#used))
    } finally {
      memory.dispose()
      program.dispose()
    }
  }

  #prepare<O extends OpName>(
    device: Device,
    opcode: O,
    fields: OpFields[O],
    chunk: Readonly<Partial<Record<DispatchHeader, number>>>,
  ): { program: CompiledProgram; memory: DeviceBuffer; dispatch: Dispatch } {
    const builder = new ProgramBuilder()
    builder.op(opcode, fields)
    const program = device.compile(builder.finish())
    const memory = device.allocate(this.#used * 4, 'the operands of an op')
    memory.write(this.#image.subarray(0, this.#used), 0)
    const dispatch = new Dispatch()
    dispatch.bind(BufferIndex.Scratch, memory)
    if (this.#last) dispatch.bind(BufferIndex.Weights, putAtEnd(device as WasmDevice, this.#last))
    for (const [key, value] of Object.entries(chunk)) {
      const word: DispatchHeader = Number(key)
      if (word === DispatchHeader.Position || word === DispatchHeader.ClosingPosition) dispatch.setPosition(word, value)
      else dispatch.set(word, value)
    }
    return { program, memory, dispatch }
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
      throw new Error(`the op wrote where it may not: word ${i} of its memory was ${hex(before[i]!)} and became ${hex(after[i]!)}`)
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

/** A build's runtime that divides each op into this many partitions, shared by the tests of a file. */
export function runtimeOf(build: BuildName, partitions = 1): Runtime {
  const key = `${build}/${partitions}`
  let runtime = opened.get(key)
  if (!runtime) {
    runtime = openRuntime(build, partitions)
    opened.set(key, runtime)
  }
  return runtime
}

/** Partitions that results must not depend on. */
export const partitionCounts: readonly number[] = [2, 3, 4, 5]

export const misalignments: readonly number[] = [0, 4, 8, 12]

/**
 * Fails unless each partition wrote to its own part of `memory`: threads run partitions at the same time.
 */
export function expectOwnMemory(memory: Int32Array, partitions: number): void {
  for (let partition = 0; partition < partitions; partition++) {
    const part = memory.subarray((partition * memory.length) / partitions, ((partition + 1) * memory.length) / partitions)
    expect(
      part.some((word) => word !== SENTINEL),
      `partition ${partition} of ${partitions} has memory of its own`,
    ).toBe(true)
  }
}

/** Calls `check` for each tile shape, with its name. */
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
