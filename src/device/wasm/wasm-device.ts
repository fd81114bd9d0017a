import { BEGINS_SERIALIZED, ENDS_SERIALIZED, SKIPS_BARRIER } from '../../../assembly/ir/flags.js'
import { BufferIndex, DispatchHeader } from '../../../assembly/ir/header.js'
import { Opcode } from '../../../assembly/ir/ops.js'
import { ResumePoint } from '../../../assembly/ir/resume-point.js'
import { WORKSPACE_BYTES } from '../../../assembly/ir/sizes.js'
import { IntegerDot, TileShape } from '../../../assembly/ir/values.js'
import { yieldToEventLoop } from '../../event-loop.js'
import { RoutedAttentionError } from '../../errors.js'
import type { Interrupt } from '../../interrupt.js'
import { Arena, type Block } from '../../memory/arena.js'
import { typedArrayKind } from '../../realm.js'
import { Mutex } from '../../mutex.js'
import {
  type ByteScanner,
  type CompiledProgram,
  type Device,
  type DeviceBuffer,
  type ParameterSource,
  type Program,
  Dispatch,
  WeightFormat,
  type WeightLayout,
  type WeightPacker,
} from '../device.js'
import { packAll } from '../weight-targets.js'
import { workerGroupsFor } from './choose-threads.js'
import type { KernelExports } from './instantiate.js'
import { WasmWeightPacker } from './pack.js'
import { WasmScanner } from './scan.js'
import type { ThreadPool } from './thread-pool.js'

/**
 * Rows of up to this many values are copied without creating a view, which would be one allocation per token and no
 * faster.
 */
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
 * Maximum tokens per chunk. Weights are read once per chunk: 256 take 3 to 5 % less time than 128 where the
 * second-level cache is smaller than a layer, and larger chunks leave two threads idle at the end of a short input
 * (docs/measurements/zen1.md#chunk-size).
 */
const CHUNK_ROWS = 256

/**
 * Number of operations after which the calling thread leaves a program to check whether to yield to the event loop:
 * about 3 to 7 ms, plus time spent waiting for weights.
 */
const LEAVE_WORK = 1e8
/** An op larger than this may be left between its slices. */
const SLICE_WORK = 1.5e8

/**
 * Maximum sequences in one dispatch. Products gain little beyond, since reading the weights takes 1 % of their time by
 * then, and each sequence waits for all others.
 */
const MOST_SEQUENCES = 64

/** Maximum dispatches submitted to the pool at once: enough that its threads seldom wait for the caller. */
const SUBMISSION_SIZE = 8
/**
 * Number of submissions with separate headers. At most two are pending, but the second refers to the last header of the
 * first until it is done, so the third must not overwrite it.
 */
const SUBMISSIONS = 3
/** Distance between headers in bytes. */
const HEADER_BYTES = DispatchHeader.Length * 4
/**
 * With more scratch than this, use a single worker group: more groups would save time, but each needs as much memory
 * again.
 */
const MOST_GROUP_BYTES = 1 << 26
/** Many small windows have many contexts, which must not force a single worker group. */
const CONTEXT_BYTES = MOST_GROUP_BYTES / 2

/** Runs programs in WebAssembly: on the calling thread, or on a pool of threads. */
export class WasmDevice implements Device {
  readonly name = 'the processor'
  readonly partitions: number
  readonly multipliesInt8 = true
  readonly hostVisible = true
  readonly chunkRows = CHUNK_ROWS
  readonly bufferBytes = Infinity
  readonly contextBytes = CONTEXT_BYTES
  readonly sequences = MOST_SEQUENCES
  isolatesCallers = false
  readonly arena: Arena
  readonly scanner: ByteScanner
  readonly #kernels: KernelExports
  /**
   * Headers of synchronous dispatches, of resumable dispatches on the calling thread, and of dispatches on the pool.
   */
  readonly #headers: Block
  /**
   * Where the program that the calling thread runs in slices goes on, followed by a word that is set to 1 to stop the
   * pool's dispatches.
   */
  readonly #resumePoint: Block
  #submissions = 0
  /** Scratch of the calling thread's partitions. */
  readonly #workspace: Block
  /** Scratch of the pool, for each worker group and partition. */
  #groupWorkspaces: Block | undefined
  /** Number of operations after which the calling thread leaves a program; does not affect results. */
  leaveWork = LEAVE_WORK
  sliceWork = SLICE_WORK
  yieldToEventLoop = yieldToEventLoop
  /** Tile shape of products; does not affect results. */
  tileShape = TileShape.Gemm6x8
  /** How products of int8 weights are computed, of several rows and of one; does not affect results. */
  tileDot = IntegerDot.Int16x2
  rowDot = IntegerDot.Int16x2
  #choose: (() => void) | undefined
  #chooseIntegerDot: (() => void) | undefined
  readonly #mutex = new Mutex()
  #pool: ThreadPool | undefined
  /** Dispatches for the pool, with their headers' addresses once submitted; 0 until then. */
  readonly #underWay = new Map<Dispatch, number>()
  readonly #handedOver = new Set<Promise<void>>()
  /** Number of worker groups used by pending dispatches. */
  #groupsInUse = 1
  #disposed = false

  /** @param partitions number of partitions per op, at least one per thread; does not affect results */
  constructor(kernels: KernelExports, memory: WebAssembly.Memory, partitions = 1) {
    this.partitions = partitions
    this.#kernels = kernels
    this.arena = new Arena(memory, kernels.heapBase())
    this.scanner = new WasmScanner(this.arena, kernels)
    this.#headers = this.arena.allocate((SUBMISSIONS * SUBMISSION_SIZE + 2) * HEADER_BYTES, 'the dispatch headers')
    this.#resumePoint = this.arena.allocateZeros((ResumePoint.Length + 1) * 4, 'the resume point')
    this.#workspace = this.arena.allocate(partitions * WORKSPACE_BYTES, 'the workspace')
  }

  /** Defers the choice of `tileShape` until it is needed or requested. */
  chooseLater(choose: () => void): void {
    this.#choose = choose
  }

  /** Defers the choice of `tileDot` and `rowDot` until weights of int8 are packed. */
  chooseIntegerDotLater(choose: () => void): void {
    this.#chooseIntegerDot = choose
  }

  #chooseIntegerDotNow(): void {
    const choose = this.#chooseIntegerDot
    this.#chooseIntegerDot = undefined
    choose?.()
  }

  /** Makes the deferred choice. */
  chooseNow(): void {
    const choose = this.#choose
    this.#choose = undefined
    choose?.()
  }

  prepare(): void {
    this.chooseNow()
  }

  /** From now on, runs large work on this pool; undefined reverts that. */
  usePool(pool: ThreadPool | undefined): void {
    this.#pool = pool
    if (pool)
      this.#groupWorkspaces ??= this.arena.allocate(this.workerGroups(0) * this.partitions * WORKSPACE_BYTES, "the threads' workspace")
  }

  workerGroups(workingBytes: number): number {
    return this.#pool && workingBytes <= MOST_GROUP_BYTES ? workerGroupsFor(this.#pool.threads, SUBMISSION_SIZE) : 1
  }

  get submissionSize(): number {
    return this.#pool ? SUBMISSION_SIZE : 1
  }

  allocate(byteLength: number, purpose: string, { zeroed = false } = {}): WasmBuffer {
    const block = zeroed ? this.arena.allocateZeros(byteLength, purpose) : this.arena.allocate(byteLength, purpose)
    return new WasmBuffer(this.arena, block)
  }

  packWeights(layout: WeightLayout, parameters: ParameterSource): DeviceBuffer {
    return packAll(this.openPacker(layout), layout, parameters)
  }

  openPacker(layout: WeightLayout): WeightPacker {
    if (layout.weights.some(({ format }) => format === WeightFormat.Int8)) this.#chooseIntegerDotNow()
    const allocate = (byteLength: number) => this.allocate(byteLength, 'the weights', { zeroed: true })
    return new WasmWeightPacker(this.arena, this.#kernels, layout, allocate)
  }

  compile(program: Program): CompiledProgram {
    const words = program.words.slice()
    for (const { op, units } of program.barrierSkips ?? []) {
      const isLast = (words[op + words[op + 1]!] as Opcode) === Opcode.End
      if (units % this.partitions === 0 && !isLast) words[op]! |= SKIPS_BARRIER
    }
    for (const { first, last } of program.serialized ?? []) {
      words[first]! |= BEGINS_SERIALIZED
      words[last]! |= ENDS_SERIALIZED
    }
    const buffer = this.allocate(words.byteLength, 'a program')
    buffer.write(words, 0)
    return new WasmProgram(buffer)
  }

  run(program: CompiledProgram, dispatches: Dispatch | readonly Dispatch[], interrupt?: Interrupt): void | Promise<void> {
    this.#assertUsable()
    const pool = this.#pool
    if (dispatches instanceof Dispatch) {
      if (this.isSynchronous(dispatches.operations) && !this.#mustWait(dispatches)) return this.runSync(program, dispatches)
      return pool ? this.#runOnPool(pool, program, [dispatches], interrupt) : this.#runInSlices(program, [dispatches], interrupt)
    }
    const work = dispatches.reduce((sum, dispatch) => sum + dispatch.operations, 0)
    if (!this.isSynchronous(work) || this.#mustWait(dispatches[0]!)) {
      return pool ? this.#runOnPool(pool, program, dispatches, interrupt) : this.#runInSlices(program, dispatches, interrupt)
    }
    for (const dispatch of dispatches) this.runSync(program, dispatch)
  }

  isSynchronous(work: number): boolean {
    return this.isolatesCallers || work < (this.#pool ? this.#pool.smallWork : this.leaveWork)
  }

  runSync(program: CompiledProgram, dispatch: Dispatch): void {
    this.#assertUsable()
    const header = this.#headers.address
    this.#writeHeader(header, dispatch, this.#workspace.address)
    this.#kernels.run((program as WasmProgram).buffer.address, header, this.partitions, 0, this.partitions, 0, 1)
  }

  /**
   * Runs on the calling thread, yielding now and then. Synchronous dispatches may run in between; another call of this
   * method may not.
   */
  #runInSlices(program: CompiledProgram, dispatches: readonly Dispatch[], interrupt: Interrupt | undefined): Promise<void> {
    const resumePoint = this.#resumePoint.address
    return this.#mutex.runExclusive(async () => {
      for (const dispatch of dispatches) {
        this.#assertUsable()
        const header = this.#headers.address + HEADER_BYTES
        this.#writeHeader(header, dispatch, this.#workspace.address)
        const { ints } = this.arena
        ints.fill(0, resumePoint / 4, resumePoint / 4 + ResumePoint.Length)
        ints[resumePoint / 4 + ResumePoint.Op] = (program as WasmProgram).buffer.address
        while (!this.#kernels.resume(resumePoint, header, this.leaveWork, this.sliceWork)) {
          const turning = this.yieldToEventLoop()
          if (turning) await turning
          this.#assertUsable()
          interrupt?.check()
        }
      }
    }, interrupt)
  }

  /** Whether a dispatch's predecessor has not finished. */
  #mustWait({ dependsOn }: Dispatch): boolean {
    return dependsOn !== undefined && this.#underWay.has(dependsOn)
  }

  /** Header address of a dispatch's predecessor, if it is pending. */
  #earlierHeader({ dependsOn }: Dispatch): number {
    return (dependsOn && this.#underWay.get(dependsOn)) ?? 0
  }

  /** A call that continues pending work joins it under the same lock, unless other calls are waiting. */
  #runOnPool(pool: ThreadPool, program: CompiledProgram, dispatches: readonly Dispatch[], interrupt: Interrupt | undefined): Promise<void> {
    const joins = this.#earlierHeader(dispatches[0]!) > 0 && !this.#mutex.hasWaiters
    for (const dispatch of dispatches) this.#underWay.set(dispatch, 0)
    if (joins) return this.#handOver(pool, program, dispatches, interrupt)
    return new Promise((resolve, reject) => {
      const running = this.#mutex.runExclusive(async () => {
        this.#handOver(pool, program, dispatches, interrupt).then(resolve, reject)
        while (this.#handedOver.size > 0) await Promise.allSettled(this.#handedOver)
        this.#setStop(0)
      }, interrupt)
      running.catch((reason: unknown) => {
        for (const dispatch of dispatches) this.#underWay.delete(dispatch)
        reject(reason)
      })
    })
  }

  #handOver(pool: ThreadPool, program: CompiledProgram, dispatches: readonly Dispatch[], interrupt: Interrupt | undefined): Promise<void> {
    const done = this.#runSubmissions(pool, program as WasmProgram, dispatches, interrupt)
    this.#handedOver.add(done)
    const forget = () => this.#handedOver.delete(done)
    done.then(forget, forget)
    return done
  }

  async #runSubmissions(
    pool: ThreadPool,
    { buffer }: WasmProgram,
    dispatches: readonly Dispatch[],
    interrupt: Interrupt | undefined,
  ): Promise<void> {
    // everything submitted at this point belongs to this call
    const forget = interrupt?.listen(() => this.#setStop(1))
    try {
      for (let start = 0; start < dispatches.length; start += SUBMISSION_SIZE) {
        this.#assertUsable()
        interrupt?.check()
        const submission = dispatches.slice(start, start + SUBMISSION_SIZE)
        // A thread may reach these dispatches while others are still at the previous ones; it must not run into them in
        // another worker group's memory
        if (this.#earlierHeader(submission[0]!) === 0) {
          const isOrdered = submission.every((dispatch, i) => i === 0 || dispatch.dependsOn === submission[i - 1])
          this.#groupsInUse = isOrdered
            ? workerGroupsFor(pool.threads, 1 + Math.max(...submission.map(({ workerGroup }) => workerGroup)))
            : 1
        }
        const workerGroups = this.#groupsInUse
        const headers = this.#headers.address + (2 + SUBMISSION_SIZE * (this.#submissions++ % SUBMISSIONS)) * HEADER_BYTES
        submission.forEach((dispatch, i) => {
          const workspace = this.#groupWorkspaces!.address + (i % workerGroups) * this.partitions * WORKSPACE_BYTES
          this.#writeHeader(headers + i * HEADER_BYTES, dispatch, workspace, this.#earlierHeader(dispatch), this.#stop)
          this.#underWay.set(dispatch, headers + i * HEADER_BYTES)
        })
        // A single thread per group needs no partitions
        const partitions = workerGroups === pool.threads ? 1 : this.partitions
        await pool.run({
          program: buffer.address,
          headers,
          headerCount: submission.length,
          headerBytes: HEADER_BYTES,
          partitions,
          workerGroups,
        })
      }
      interrupt?.check()
    } finally {
      forget?.()
      for (const dispatch of dispatches) this.#underWay.delete(dispatch)
    }
  }

  /** Address of the word that stops the pool's dispatches. */
  get #stop(): number {
    return this.#resumePoint.address + ResumePoint.Length * 4
  }

  #setStop(value: 0 | 1): void {
    if (!this.#disposed) Atomics.store(this.arena.ints, this.#stop / 4, value)
  }

  #writeHeader(address: number, dispatch: Dispatch, workspace: number, earlier = 0, stop = 0): void {
    this.chooseNow()
    const { ints } = this.arena
    const header = address / 4
    // addresses of buffers that are not bound are 0
    ints.set(dispatch.header, header)
    ints[header + DispatchHeader.TileShape] = this.tileShape
    ints[header + DispatchHeader.TileDot] = this.tileDot
    ints[header + DispatchHeader.RowDot] = this.rowDot
    ints[header + DispatchHeader.DependsOn] = earlier
    ints[header + DispatchHeader.SectionsLeft] = 0
    ints[header + DispatchHeader.Stop] = stop
    const table = header + DispatchHeader.Buffers
    this.#writeAddresses(table, dispatch)
    ints[table + BufferIndex.DispatchHeader] = address
    ints[table + BufferIndex.Workspace] = workspace
    let own = ints[table + BufferIndex.Sequences]! / 4
    for (const sequence of dispatch.sequences) {
      ints.set(sequence.header, own)
      ints[own + DispatchHeader.TileShape] = this.tileShape
      ints[own + DispatchHeader.Stop] = stop
      this.#writeAddresses(own + DispatchHeader.Buffers, dispatch)
      this.#writeAddresses(own + DispatchHeader.Buffers, sequence)
      ints[own + DispatchHeader.Buffers + BufferIndex.DispatchHeader] = own * 4
      own += DispatchHeader.Length
    }
  }

  /** Writes the address of each buffer that is bound. */
  #writeAddresses(table: number, { buffers, offsets }: Dispatch): void {
    const { ints } = this.arena
    for (let id = 0; id < BufferIndex.Length; id++) {
      const memory = buffers[id] as WasmBuffer | undefined
      if (memory) ints[table + id] = memory.address + offsets[id]!
    }
  }

  /** Pending work may still hold memory, but runs nothing any more. */
  #assertUsable(): void {
    if (this.#disposed) throw new RoutedAttentionError('DISPOSED', 'the runtime was disposed')
  }

  async dispose(): Promise<void> {
    if (this.#disposed) return
    this.#disposed = true
    this.arena.free(this.#headers)
    this.arena.free(this.#resumePoint)
    this.arena.free(this.#workspace)
    if (this.#groupWorkspaces) this.arena.free(this.#groupWorkspaces)
    const pool = this.#pool
    this.#pool = undefined
    if (pool) await pool.dispose()
  }
}
