import {
  BEGINS_ORDERED,
  Buffer,
  Cursor,
  ENDS_ORDERED,
  JOINS_NEXT,
  Opcode,
  Piece,
  TileShape,
  WORKSPACE_BYTES,
} from '../../../assembly/steps.js'
import { atOnce, breathe } from '../../breathe.js'
import { RoutedAttentionError } from '../../errors.js'
import type { Interrupt } from '../../interrupt.js'
import { Arena, type Block } from '../../memory/arena.js'
import { typedArrayKind } from '../../realm.js'
import { nextTurn, Turns } from '../../turns.js'
import {
  type ByteScanner,
  type CompiledProgram,
  type Device,
  type DeviceBuffer,
  type ParameterSource,
  type Program,
  Run,
  type WeightLayout,
} from '../device.js'
import { lanesFor } from './choose-threads.js'
import type { KernelExports } from './instantiate.js'
import { packWeights } from './pack.js'
import { WasmScanner } from './scan.js'
import type { ThreadPool } from './thread-pool.js'

/** One row of up to this many values is copied without a view of it: an allocation for each token, and no faster. */
const SHORT_ROW = 8192

class WasmBuffer implements DeviceBuffer {
  readonly #arena: Arena
  readonly #block: Block
  #freed = false

  constructor(arena: Arena, block: Block) {
    this.#arena = arena
    this.#block = block
  }

  get address(): number {
    return this.#block.address
  }

  get byteLength(): number {
    return this.#block.byteLength
  }

  clear(byteOffset = 0, byteLength = this.byteLength - byteOffset): void {
    const start = this.address + byteOffset
    this.#arena.bytes.fill(0, start, start + byteLength)
  }

  write(data: Float32Array | Int32Array | Float64Array, byteOffset: number): void {
    const start = this.address + byteOffset
    const kind = typedArrayKind(data)
    if (kind === 'Float32Array') this.#arena.floats.set(data, start / 4)
    else if (kind === 'Int32Array') this.#arena.ints.set(data, start / 4)
    else this.#arena.doubles.set(data, start / 8)
  }

  writeRows(data: Float32Array, width: number, stride: number, byteOffset: number): void {
    const { floats } = this.#arena
    let at = (this.address + byteOffset) / 4
    if (width === stride) {
      floats.set(data, at)
      return
    }
    for (let from = 0; from < data.length; from += width, at += stride) floats.set(data.subarray(from, from + width), at)
  }

  readFloats(byteOffset: number, length: number): Float32Array {
    const at = (this.address + byteOffset) / 4
    return this.#arena.floats.slice(at, at + length)
  }

  readInts(byteOffset: number, length: number): Int32Array {
    const at = (this.address + byteOffset) / 4
    return this.#arena.ints.slice(at, at + length)
  }

  readDoubles(byteOffset: number, length: number): Float64Array {
    const at = (this.address + byteOffset) / 8
    return this.#arena.doubles.slice(at, at + length)
  }

  readRows(out: Float32Array, at: number, rows: number, width: number, stride: number, byteOffset: number): void {
    const { floats } = this.#arena
    const start = (this.address + byteOffset) / 4
    if (rows === 1 && width <= SHORT_ROW) {
      for (let i = 0; i < width; i++) out[at + i] = floats[start + i]!
      return
    }
    if (width === stride) {
      out.set(floats.subarray(start, start + rows * width), at)
      return
    }
    for (let row = 0; row < rows; row++) out.set(floats.subarray(start + row * stride, start + row * stride + width), at + row * width)
  }

  copyFrom(source: DeviceBuffer): void {
    const { address, byteLength } = source as WasmBuffer
    this.#arena.bytes.copyWithin(this.address, address, address + byteLength)
  }

  dispose(): void {
    if (this.#freed) return
    this.#freed = true
    this.#arena.free(this.#block)
  }
}

class WasmProgram implements CompiledProgram {
  constructor(readonly buffer: WasmBuffer) {}

  dispose(): void {
    this.buffer.dispose()
  }
}

/**
 * Most tokens of a chunk. Its weights are read once for all of them, from wherever they lie: 256 take 3 to 5 % less
 * time than 128 where the second-level cache holds less than a layer, and more than that leave two threads idle at the
 * end of a short input (docs/measurements/zen1.md#chunk-size).
 */
const PIECE_ROWS = 256

/**
 * Operations after which the calling thread leaves a program, to see whether the event loop should turn: some 3 to 7 ms, and as much longer as it waits for
 * the weights.
 */
const LEAVE_WORK = 1e8
/** A step of more than this is left between its parts. */
const PART_WORK = 1.5e8

/** Runs handed to the pool at once, at most: enough that its threads seldom wait for the caller. */
const BATCH = 8
/**
 * Batches that headers are kept for. Two are under way at most, but the second looks at the first one's last header until it is done itself: the third must
 * not be written there.
 */
const BATCHES = 3
/** Bytes from one header to the next. */
const HEADER_BYTES = Piece.Length * 4
/** Of more working memory than this there is only one lane's: it is time that others would save, not memory that they may take. */
const MOST_LANE_BYTES = 1 << 26
/** Windows of few tokens have many contexts, which must not leave the threads one lane. */
const CONTEXT_BYTES = MOST_LANE_BYTES / 2

/** Runs programs in WebAssembly: on the calling thread, or on a pool of others. */
export class WasmDevice implements Device {
  readonly name = 'the processor'
  readonly shares: number
  readonly seesMemory = true
  readonly keepsFormats = true
  readonly pieceRows = PIECE_ROWS
  readonly bufferBytes = Infinity
  readonly contextBytes = CONTEXT_BYTES
  readonly arena: Arena
  readonly scanner: ByteScanner
  readonly #kernels: KernelExports
  /** The header of what the calling thread runs at once, that of what it leaves and enters again, and those of what runs on the pool. */
  readonly #headers: Block
  /** How far the calling thread has come with what it leaves; then a word that is 1 while nobody wants what the pool computes. */
  readonly #marks: Block
  #batches = 0
  /** What the calling thread's shares work in. */
  readonly #workspace: Block
  /** What those of each of the pool's lanes do. */
  #laneWorkspaces: Block | undefined
  /** When the calling thread leaves a program, and what it does then; results do not depend on it. */
  leaveWork = LEAVE_WORK
  partWork = PART_WORK
  breathe = breathe
  /** How products are cut into tiles; results do not depend on it. */
  tileShape = TileShape.Tall
  #choose: (() => void) | undefined
  readonly #turns = new Turns()
  #pool: ThreadPool | undefined
  /** Runs that the pool is to do, with their headers' addresses once they are handed over; until then 0. */
  readonly #underWay = new Map<Run, number>()
  readonly #handedOver = new Set<Promise<void>>()
  /** Lanes of the runs that are under way. */
  #lanesInUse = 1
  #disposed = false

  /** @param shares how many shares each step is cut into, one for each thread or more; results do not depend on it */
  constructor(kernels: KernelExports, memory: WebAssembly.Memory, shares = 1) {
    this.shares = shares
    this.#kernels = kernels
    this.arena = new Arena(memory, kernels.heapBase())
    this.scanner = new WasmScanner(this.arena, kernels)
    this.#headers = this.arena.allocate((BATCHES * BATCH + 2) * HEADER_BYTES, 'the piece headers')
    this.#marks = this.arena.allocateZeros((Cursor.Length + 1) * 4, 'how far programs have come')
    this.#workspace = this.arena.allocate(shares * WORKSPACE_BYTES, 'the workspace')
  }

  /** Has `choose` set `tileShape` once it matters, or is asked for. */
  chooseLater(choose: () => void): void {
    this.#choose = choose
  }

  /** Makes the choice that is still to be made. */
  settle(): void {
    const choose = this.#choose
    this.#choose = undefined
    choose?.()
  }

  async prepare(byteLength: number): Promise<void> {
    const touching = this.arena.touch(byteLength)
    do {
      await nextTurn()
      if (this.#disposed) return
    } while (!touching.next().done)
    this.settle()
  }

  /** Hands large work to these threads from now on; undefined takes it back. */
  usePool(pool: ThreadPool | undefined): void {
    this.#pool = pool
    if (pool) this.#laneWorkspaces ??= this.arena.allocate(this.lanes(0) * this.shares * WORKSPACE_BYTES, "the threads' workspace")
  }

  lanes(workingBytes: number): number {
    return this.#pool && workingBytes <= MOST_LANE_BYTES ? lanesFor(this.#pool.threads, BATCH) : 1
  }

  get batch(): number {
    return this.#pool ? BATCH : 1
  }

  allocate(byteLength: number, purpose: string, { zeroed = false } = {}): WasmBuffer {
    const block = zeroed ? this.arena.allocateZeros(byteLength, purpose) : this.arena.allocate(byteLength, purpose)
    return new WasmBuffer(this.arena, block)
  }

  packWeights(layout: WeightLayout, parameters: ParameterSource): DeviceBuffer {
    return atOnce(this.packInParts(layout, parameters))
  }

  *packInParts(layout: WeightLayout, parameters: ParameterSource): Generator<void, DeviceBuffer> {
    const buffer = this.allocate(layout.byteLength, 'the weights', { zeroed: true })
    let packed = false
    try {
      yield* packWeights(layout.weights, parameters, this.arena, this.#kernels, buffer.address)
      packed = true
    } finally {
      if (!packed) buffer.dispose()
    }
    for (const { byteOffset, values } of layout.constants) buffer.write(values, byteOffset)
    return buffer
  }

  compile(program: Program): CompiledProgram {
    const words = program.words.slice()
    for (const { step, parts } of program.joints ?? []) {
      const isLast = (words[step + words[step + 1]!] as Opcode) === Opcode.End
      if (parts % this.shares === 0 && !isLast) words[step]! |= JOINS_NEXT
    }
    for (const { first, last } of program.ordered ?? []) {
      words[first]! |= BEGINS_ORDERED
      words[last]! |= ENDS_ORDERED
    }
    const buffer = this.allocate(words.byteLength, 'a program')
    buffer.write(words, 0)
    return new WasmProgram(buffer)
  }

  run(program: CompiledProgram, runs: Run | readonly Run[], interrupt?: Interrupt): void | Promise<void> {
    this.#assertUsable()
    const pool = this.#pool
    if (runs instanceof Run) {
      if (this.isAtOnce(runs.work) && !this.#mustWait(runs)) return this.runHere(program, runs)
      return pool ? this.#runOnPool(pool, program, [runs], interrupt) : this.#runInParts(program, [runs], interrupt)
    }
    const work = runs.reduce((sum, run) => sum + run.work, 0)
    if (!this.isAtOnce(work) || this.#mustWait(runs[0]!)) {
      return pool ? this.#runOnPool(pool, program, runs, interrupt) : this.#runInParts(program, runs, interrupt)
    }
    for (const run of runs) this.runHere(program, run)
  }

  isAtOnce(work: number): boolean {
    return work < (this.#pool ? this.#pool.smallWork : this.leaveWork)
  }

  runHere(program: CompiledProgram, run: Run): void {
    this.#assertUsable()
    const header = this.#headers.address
    this.#writeHeader(header, run, this.#workspace.address)
    this.#kernels.run((program as WasmProgram).buffer.address, header, this.shares, 0, this.shares, 0, 1)
  }

  /** On the calling thread, which leaves the program for others' work now and then: what runs at once may come between, but nothing that is left itself. */
  #runInParts(program: CompiledProgram, runs: readonly Run[], interrupt: Interrupt | undefined): Promise<void> {
    const cursor = this.#marks.address
    return this.#turns.take(async () => {
      for (const run of runs) {
        this.#assertUsable()
        const header = this.#headers.address + HEADER_BYTES
        this.#writeHeader(header, run, this.#workspace.address)
        const { ints } = this.arena
        ints.fill(0, cursor / 4, cursor / 4 + Cursor.Length)
        ints[cursor / 4 + Cursor.Step] = (program as WasmProgram).buffer.address
        while (!this.#kernels.proceed(cursor, header, this.leaveWork, this.partWork)) {
          const turning = this.breathe()
          if (turning) await turning
          this.#assertUsable()
          interrupt?.check()
        }
      }
    }, interrupt)
  }

  /** Whether a run's earlier one is not done. */
  #mustWait({ earlier }: Run): boolean {
    return earlier !== undefined && this.#underWay.has(earlier)
  }

  /** The header of a run's earlier one, if that is at work. */
  #earlierHeader({ earlier }: Run): number {
    return (earlier && this.#underWay.get(earlier)) ?? 0
  }

  /** What goes on from work that is under way joins it and shares its turn, unless others wait for theirs. */
  #runOnPool(pool: ThreadPool, program: CompiledProgram, runs: readonly Run[], interrupt: Interrupt | undefined): Promise<void> {
    const joins = this.#earlierHeader(runs[0]!) > 0 && !this.#turns.wanted
    for (const run of runs) this.#underWay.set(run, 0)
    if (joins) return this.#handOver(pool, program, runs, interrupt)
    return new Promise((resolve, reject) => {
      const turn = this.#turns.take(async () => {
        this.#handOver(pool, program, runs, interrupt).then(resolve, reject)
        while (this.#handedOver.size > 0) await Promise.allSettled(this.#handedOver)
        this.#setStop(0)
      }, interrupt)
      turn.catch((reason: unknown) => {
        for (const run of runs) this.#underWay.delete(run)
        reject(reason)
      })
    })
  }

  #handOver(pool: ThreadPool, program: CompiledProgram, runs: readonly Run[], interrupt: Interrupt | undefined): Promise<void> {
    const done = this.#runBatches(pool, program as WasmProgram, runs, interrupt)
    this.#handedOver.add(done)
    const forget = () => this.#handedOver.delete(done)
    done.then(forget, forget)
    return done
  }

  async #runBatches(pool: ThreadPool, { buffer }: WasmProgram, runs: readonly Run[], interrupt: Interrupt | undefined): Promise<void> {
    // all that is handed over in one turn is one call's
    const forget = interrupt?.listen(() => this.#setStop(1))
    try {
      for (let start = 0; start < runs.length; start += BATCH) {
        this.#assertUsable()
        interrupt?.check()
        const batch = runs.slice(start, start + BATCH)
        // a thread may come to these runs while others are at the ones before: it must not meet them in another lane's memory
        if (this.#earlierHeader(batch[0]!) === 0) {
          const isOrdered = batch.every((run, i) => i === 0 || run.earlier === batch[i - 1])
          this.#lanesInUse = isOrdered ? lanesFor(pool.threads, 1 + Math.max(...batch.map(({ lane }) => lane))) : 1
        }
        const lanes = this.#lanesInUse
        const headers = this.#headers.address + (2 + BATCH * (this.#batches++ % BATCHES)) * HEADER_BYTES
        batch.forEach((run, i) => {
          const workspace = this.#laneWorkspaces!.address + (i % lanes) * this.shares * WORKSPACE_BYTES
          this.#writeHeader(headers + i * HEADER_BYTES, run, workspace, this.#earlierHeader(run), this.#stop)
          this.#underWay.set(run, headers + i * HEADER_BYTES)
        })
        // a thread alone needs no shares
        const shares = lanes === pool.threads ? 1 : this.shares
        await pool.run({ program: buffer.address, headers, headerCount: batch.length, headerBytes: HEADER_BYTES, shares, lanes })
      }
      interrupt?.check()
    } finally {
      forget?.()
      for (const run of runs) this.#underWay.delete(run)
    }
  }

  /** Address of the word that stops the pool's runs. */
  get #stop(): number {
    return this.#marks.address + Cursor.Length * 4
  }

  #setStop(value: 0 | 1): void {
    if (!this.#disposed) Atomics.store(this.arena.ints, this.#stop / 4, value)
  }

  #writeHeader(address: number, run: Run, workspace: number, earlier = 0, stop = 0): void {
    this.settle()
    const { ints } = this.arena
    const header = address / 4
    ints.set(run.header, header)
    ints[header + Piece.TileShape] = this.tileShape
    ints[header + Piece.Earlier] = earlier
    ints[header + Piece.Passed] = 0
    ints[header + Piece.Stop] = stop
    const table = header + Piece.Buffers
    for (let id = 0; id < Buffer.Length; id++) {
      const memory = run.buffers[id] as WasmBuffer | undefined
      ints[table + id] = memory ? memory.address + run.offsets[id]! : 0
    }
    ints[table + Buffer.Piece] = address
    ints[table + Buffer.Workspace] = workspace
  }

  /** Work in flight may still hold memory, but runs nothing any more. */
  #assertUsable(): void {
    if (this.#disposed) throw new RoutedAttentionError('DISPOSED', 'the runtime was disposed')
  }

  async dispose(): Promise<void> {
    if (this.#disposed) return
    this.#disposed = true
    this.arena.free(this.#headers)
    this.arena.free(this.#marks)
    this.arena.free(this.#workspace)
    if (this.#laneWorkspaces) this.arena.free(this.#laneWorkspaces)
    const pool = this.#pool
    this.#pool = undefined
    if (pool) await pool.dispose()
  }
}
