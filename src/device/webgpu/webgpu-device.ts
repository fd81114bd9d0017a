import { BufferIndex, DispatchHeader } from '../../../assembly/ir/header.js'
import { type ErrorCode, RoutedAttentionError } from '../../errors.js'
import { type Interrupt, unlessInterrupted } from '../../interrupt.js'
import {
  type CompiledProgram,
  type Device,
  type DeviceBuffer,
  type ParameterSource,
  type Program,
  type BufferRange,
  Dispatch,
  type WeightLayout,
  type WeightPacker,
} from '../device.js'
import { packAll } from '../weight-targets.js'
import { BufferPool } from './buffer-pool.js'
import { HEADER_BYTES } from './kernel.js'
import { WebGpuWeightPacker } from './pack.js'
import { Pipelines } from './pipelines.js'
import { copyOut, receiveReadback } from './readbacks.js'
import { WebGpuBuffer } from './webgpu-buffer.js'
import { WebGpuProgram } from './webgpu-program.js'
import { MapMode } from './constants.js'
import { WorkQueue } from './work-queue.js'

/** Number of unused programs kept. */
const KEPT_PROGRAMS = 64
/** Maximum dispatches submitted together: results of some are copied out while others are computed. */
const SUBMISSION_SIZE = 4

/** Runs programs as compute passes on a GPU. */
export class WebGpuDevice implements Device {
  readonly name = 'the GPU'
  /** Workgroups have their own memory; no scratch is planned for them. */
  readonly partitions = 1
  readonly multipliesInt8 = false
  readonly hostVisible = false
  readonly submissionSize = SUBMISSION_SIZE
  /** Each sequence has buffers of its own, and a pipeline binds eight: a dispatch cannot reach those of several. */
  readonly sequences = 1
  readonly isolatesCallers = false
  readonly chunkRows: number
  readonly partBytes: number
  readonly gpu: GPUDevice
  readonly pool: BufferPool
  readonly queue: WorkQueue
  readonly #pipelines: Pipelines
  /** Programs by their words, most recently compiled last. */
  readonly #programs = new Map<string, WebGpuProgram>()
  /** The first error not yet reported to a call. */
  #fault: RoutedAttentionError | undefined
  /** Resolves once it is known whether the GPU accepted everything submitted. */
  #checks: Promise<void> = Promise.resolve()
  #used = 0
  #lost: string | undefined
  #disposed = false

  /**
   * @param chunkRows maximum tokens worth submitting at once
   * @param partBytes maximum size of a binding in bytes, a power of two; default: as large as the limits allow
   */
  constructor(gpu: GPUDevice, chunkRows: number, partBytes = largestPart(gpu.limits)) {
    this.gpu = gpu
    this.chunkRows = chunkRows
    this.partBytes = partBytes
    this.queue = new WorkQueue(gpu, (scope) => this.#watch(scope, 'UNSUPPORTED', refusal))
    gpu.addEventListener('uncapturederror', (event) => this.#fail('UNSUPPORTED', refusal(event.error.message)))
    this.pool = new BufferPool(gpu, {
      settle: () => this.queue.flush(),
      watch: (scope, refused) => this.#watch(scope, 'OUT_OF_MEMORY', refused),
    })
    this.#pipelines = new Pipelines(gpu, partBytes)
    void gpu.lost.then(({ message, reason }) => (this.#lost = message || reason))
  }

  /** Larger buffers consist of several parts, between which shaders choose. */
  get bufferBytes(): number {
    return this.partBytes
  }

  get contextBytes(): number {
    return this.partBytes / 2
  }

  /** Bytes in use, on the GPU and in host copies. */
  get used(): number {
    return this.#used
  }

  /** Bytes held, including those kept for reuse. */
  get reserved(): number {
    return this.#used + this.pool.kept
  }

  /** Why the GPU was lost, if it was. */
  get lost(): string | undefined {
    return this.#lost
  }

  /** @param describe makes an error message of what the GPU reports */
  #watch(scope: Promise<GPUError | null>, code: ErrorCode, describe: (message: string) => string): void {
    const check = scope.then(
      (error) => {
        if (error) this.#fail(code, describe(error.message))
      },
      // A lost device reports nothing any more
      () => undefined,
    )
    this.#checks = Promise.all([this.#checks, check]).then(() => undefined)
  }

  /** The next call that checks rejects with this error. */
  #fail(code: ErrorCode, message: string): void {
    this.#fault ??= new RoutedAttentionError(code, message)
  }

  allocate(byteLength: number, purpose: string, { zeroed = false, mirrored = false } = {}): WebGpuBuffer {
    this.#assertUsable()
    const buffer = new WebGpuBuffer(this, byteLength, purpose, mirrored)
    this.#used += buffer.footprint
    if (zeroed) buffer.clear()
    return buffer
  }

  reclaim(buffer: WebGpuBuffer): void {
    this.#used -= buffer.footprint
    buffer.parts.forEach((part) => this.#giveBack(part))
  }

  #giveBack(buffer: GPUBuffer): void {
    if (this.#disposed || this.#lost !== undefined) buffer.destroy()
    else this.pool.give(buffer)
  }

  packWeights(layout: WeightLayout, parameters: ParameterSource): DeviceBuffer {
    return packAll(this.openPacker(layout), layout, parameters)
  }

  openPacker(layout: WeightLayout): WeightPacker {
    return new WebGpuWeightPacker(layout, this.allocate(layout.byteLength, 'the weights'))
  }

  /** An identical program, whoever compiled it, is reused, along with its cached bind groups. */
  compile(program: Program): CompiledProgram {
    this.#assertUsable()
    const key = program.words.join(' ')
    const known = this.#programs.get(key) ?? new WebGpuProgram(this.gpu, this.#pipelines, this.queue.headers, program)
    this.#programs.delete(key)
    this.#programs.set(key, known)
    if (this.#programs.size > KEPT_PROGRAMS) this.queue.flush()
    for (const [oldest, idle] of this.#programs) {
      if (this.#programs.size <= KEPT_PROGRAMS) break
      if (idle.freeIfUnused()) this.#programs.delete(oldest)
    }
    return known.retain()
  }

  /** Work already submitted completes even if interrupted; work submitted later runs after it and sees its effects. */
  run(program: CompiledProgram, dispatches: Dispatch | readonly Dispatch[], interrupt?: Interrupt): Promise<void> {
    const done = this.#run(program, dispatches)
    return interrupt ? unlessInterrupted(done, interrupt) : done
  }

  async #run(program: CompiledProgram, dispatches: Dispatch | readonly Dispatch[]): Promise<void> {
    this.#assertUsable()
    const all = (dispatches instanceof Dispatch ? [dispatches] : dispatches).map((dispatch) => ({
      dispatch,
      workgroups: (program as WebGpuProgram).workgroupDispatches(dispatch),
    }))
    const preparing = all.flatMap(({ workgroups }) => workgroups.flatMap(({ pipeline }) => pipeline.prepare() ?? []))
    if (preparing.length > 0) await this.#compiled(preparing)
    const start = performance.now()
    for (const { dispatch, workgroups } of all) this.queue.run(workgroups, headerOf(dispatch), dispatch.operations)
    const ranges = all.flatMap(({ dispatch }) => dispatch.readbacks)
    if (ranges.length === 0) {
      await this.queue.keepPace()
      return this.#assertUsable()
    }
    await this.#bringOver(ranges)
    const work = all.reduce((sum, { dispatch }) => sum + dispatch.operations, 0)
    this.queue.caughtUp(work, (performance.now() - start) / 1000)
  }

  async #compiled(preparing: readonly Promise<void>[]): Promise<void> {
    try {
      await Promise.all(preparing)
    } catch (cause) {
      await this.#settled()
      throw new RoutedAttentionError('UNSUPPORTED', `the GPU's driver does not take a kernel: ${(cause as Error).message}`, { cause })
    }
    this.#assertUsable()
  }

  /** Submits all pending work and copies results to the buffers they belong to. */
  async #bringOver(ranges: readonly BufferRange[]): Promise<void> {
    const readbacks = copyOut(this, ranges)
    this.queue.flush(true)
    try {
      try {
        await Promise.all([this.#checks, ...readbacks.map(({ staging }) => staging.mapAsync(MapMode.READ))])
      } catch (cause) {
        await this.#settled()
        throw new RoutedAttentionError('DEVICE_LOST', `the GPU did not do its work: ${(cause as Error).message}`, { cause })
      }
      this.#assertUsable()
      for (const readback of readbacks) receiveReadback(readback)
    } finally {
      for (const { staging } of readbacks) {
        if (staging.mapState !== 'unmapped') staging.unmap()
        this.#giveBack(staging)
      }
    }
  }

  /** After a failure: throws the known reason. */
  async #settled(): Promise<void> {
    await this.#checks
    this.#assertUsable()
  }

  workerGroups(): number {
    return 1
  }

  isSynchronous(): boolean {
    return false
  }

  runSync(program: CompiledProgram, dispatch: Dispatch): void {
    this.#assertUsable()
    this.queue.run((program as WebGpuProgram).workgroupDispatches(dispatch), headerOf(dispatch), dispatch.operations)
  }

  #assertUsable(): void {
    if (this.#disposed) throw new RoutedAttentionError('DISPOSED', 'the runtime was disposed')
    if (this.#lost !== undefined) throw new RoutedAttentionError('DEVICE_LOST', `the GPU was lost: ${this.#lost}`)
    const fault = this.#fault
    this.#fault = undefined
    if (fault) throw fault
  }

  async dispose(): Promise<void> {
    if (this.#disposed) return
    this.#disposed = true
    this.queue.drop()
    this.pool.clear()
    this.gpu.destroy()
    await this.gpu.lost
  }
}

function refusal(message: string): string {
  return `the GPU refused its work: ${message}`
}

function largestPart({ maxStorageBufferBindingSize, maxBufferSize }: GPUSupportedLimits): number {
  return 2 ** Math.floor(Math.log2(Math.min(maxStorageBufferBindingSize, maxBufferSize)))
}

/** A dispatch header as seen by shaders: buffer offsets in words, positions as two-word integers. */
function headerOf(dispatch: Dispatch): Int32Array {
  const header = new Int32Array(HEADER_BYTES / 4)
  header.set(dispatch.header)
  for (const word of [DispatchHeader.Position, DispatchHeader.ClosingPosition] as const) {
    const position = dispatch.position(word)
    header[word] = position | 0
    header[word + 1] = Math.floor(position / 2 ** 32)
  }
  for (let id = 0; id < BufferIndex.Length; id++) header[DispatchHeader.Buffers + id] = dispatch.offsets[id]! / 4
  return header
}
