import { BEGINS_SERIALIZED, ENDS_SERIALIZED, SKIPS_BARRIER } from '../../../assembly/ir/flags.js'
import { Opcode } from '../../../assembly/ir/ops.js'
import { ResumePoint } from '../../../assembly/ir/resume-point.js'
import { WORKSPACE_BYTES } from '../../../assembly/ir/sizes.js'
import { IntegerDot, TileShape } from '../../../assembly/ir/values.js'
import { yieldToEventLoop } from '../../event-loop.js'
import { RoutedAttentionError } from '../../errors.js'
import type { Interrupt } from '../../interrupt.js'
import { Arena, type Block } from '../../memory/arena.js'
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
import { POOL_HEADERS, type PoolHost, PoolSubmitter, SUBMISSION_SIZE } from './pool-submitter.js'
import { WasmScanner } from './scan.js'
import type { ThreadPool } from './thread-pool.js'
import { WasmBuffer, WasmProgram } from './wasm-buffer.js'
import { HEADER_BYTES, writeHeader } from './write-header.js'

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
const MAX_SEQUENCES = 64

/**
 * With more scratch than this, use a single worker group: more groups would save time, but each needs as much memory
 * again.
 */
const MAX_GROUP_BYTES = 1 << 26
/** Many small windows have many contexts, which must not force a single worker group. */
const CONTEXT_BYTES = MAX_GROUP_BYTES / 2

/** Runs programs in WebAssembly: on the calling thread, or on a pool of threads. */
export class WasmDevice implements Device {
  readonly name = 'the processor'
  readonly partitions: number
  readonly multipliesInt8 = true
  readonly hostVisible = true
  readonly chunkRows = CHUNK_ROWS
  readonly bufferBytes = Infinity
  readonly contextBytes = CONTEXT_BYTES
  readonly sequences = MAX_SEQUENCES
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
  readonly #submitter: PoolSubmitter
  #pool: ThreadPool | undefined
  #disposed = false

  /** @param partitions number of partitions per op, at least one per thread; does not affect results */
  constructor(kernels: KernelExports, memory: WebAssembly.Memory, partitions = 1) {
    this.partitions = partitions
    this.#kernels = kernels
    this.arena = new Arena(memory, kernels.heapBase())
    this.scanner = new WasmScanner(this.arena, kernels)
    this.#headers = this.arena.allocate((2 + POOL_HEADERS) * HEADER_BYTES, 'the dispatch headers')
    this.#resumePoint = this.arena.allocateZeros((ResumePoint.Length + 1) * 4, 'the resume point')
    this.#workspace = this.arena.allocate(partitions * WORKSPACE_BYTES, 'the workspace')
    this.#submitter = new PoolSubmitter(this.#poolHost())
  }

  #poolHost(): PoolHost {
    return {
      mutex: this.#mutex,
      partitions: this.partitions,
      headers: this.#headers.address + 2 * HEADER_BYTES,
      workspaces: () => this.#groupWorkspaces!.address,
      writeHeader: (address, dispatch, workspace, earlier) => this.#writeHeader(address, dispatch, workspace, earlier, this.#stop),
      setStop: (value) => {
        if (!this.#disposed) Atomics.store(this.arena.ints, this.#stop / 4, value)
      },
      assertUsable: () => this.#assertUsable(),
    }
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
    return this.#pool && workingBytes <= MAX_GROUP_BYTES ? workerGroupsFor(this.#pool.threads, SUBMISSION_SIZE) : 1
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
      if (this.isSynchronous(dispatches.operations) && !this.#submitter.mustWait(dispatches)) return this.runSync(program, dispatches)
      return pool
        ? this.#submitter.run(pool, program as WasmProgram, [dispatches], interrupt)
        : this.#runInSlices(program, [dispatches], interrupt)
    }
    const work = dispatches.reduce((sum, dispatch) => sum + dispatch.operations, 0)
    if (!this.isSynchronous(work) || this.#submitter.mustWait(dispatches[0]!)) {
      return pool
        ? this.#submitter.run(pool, program as WasmProgram, dispatches, interrupt)
        : this.#runInSlices(program, dispatches, interrupt)
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

  /** Address of the word that stops the pool's dispatches. */
  get #stop(): number {
    return this.#resumePoint.address + ResumePoint.Length * 4
  }

  #writeHeader(address: number, dispatch: Dispatch, workspace: number, earlier = 0, stop = 0): void {
    this.chooseNow()
    writeHeader(this.arena, this, address, dispatch, workspace, earlier, stop)
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
