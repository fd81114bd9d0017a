import { Buffer, Piece } from '../../../assembly/steps.js'
import { RoutedAttentionError } from '../../errors.js'
import {
  type CompiledProgram,
  type Device,
  type DeviceBuffer,
  type ParameterSource,
  type Program,
  Run,
  type WeightLayout,
} from '../device.js'
import { BufferPool } from './buffer-pool.js'
import { packWeights } from './pack.js'
import { Pipelines } from './pipelines.js'
import { WebGpuBuffer } from './webgpu-buffer.js'
import { type Dispatch, WebGpuProgram } from './webgpu-program.js'
import { BufferUsage, MapMode } from './constants.js'

/** Bytes of the piece header as a uniform. */
const HEADER_BYTES = Math.ceil(Piece.Length / 4) * 16
/** Seconds that a submission should hold the GPU, at most, about. */
const LONGEST_SUBMISSION = 0.25
/** Operations a second that a GPU is taken to do before it was seen: few, so that the first runs are cut rather than long. */
const FIRST_RATE = 1e10
/** Programs that are kept when nobody has them, unless others do. */
const KEPT_PROGRAMS = 64
/** Runs handed over together, at most: the results of some are copied out while others are computed. */
const BATCH = 4
/** Calls whose work may wait on the GPU without anyone waiting for it. */
const CALLS_AHEAD = 16

/** Runs programs as compute passes on a GPU. */
export class WebGpuDevice implements Device {
  readonly name = 'the GPU'
  /** A workgroup has memory of its own; no scratch is planned for it. */
  readonly shares = 1
  readonly seesMemory = false
  readonly keepsFormats = false
  readonly batch = BATCH
  readonly pieceRows: number
  readonly bufferBytes: number
  readonly gpu: GPUDevice
  readonly pool: BufferPool
  readonly #pipelines: Pipelines
  readonly #header: GPUBuffer
  /** By their words, the one taken in last at the end. */
  readonly #programs = new Map<string, WebGpuProgram>()
  /** Shared by all allocations: the first that the GPU had no memory for. */
  #refusedMemory: string | undefined
  #checks: Promise<void> = Promise.resolve()
  #used = 0
  #lost: string | undefined
  #disposed = false
  /** Work that nobody waits for, the oldest first. */
  readonly #ahead: Promise<unknown>[] = []
  #rate = FIRST_RATE

  /** @param pieceRows most tokens that it is worth giving it at once */
  constructor(gpu: GPUDevice, pieceRows: number) {
    this.gpu = gpu
    this.pieceRows = pieceRows
    this.bufferBytes = Math.min(gpu.limits.maxStorageBufferBindingSize, gpu.limits.maxBufferSize)
    this.pool = new BufferPool(gpu)
    this.#pipelines = new Pipelines(gpu)
    this.#header = gpu.createBuffer({ size: HEADER_BYTES, usage: BufferUsage.UNIFORM | BufferUsage.COPY_DST })
    void gpu.lost.then(({ message, reason }) => (this.#lost = message || reason))
  }

  /** Bytes in use, on the GPU and for its sake beside it. */
  get used(): number {
    return this.#used
  }

  /** Bytes that it holds, for reuse too. */
  get reserved(): number {
    return this.#used + this.pool.kept
  }

  /** Why the GPU is gone, if it is. */
  get lost(): string | undefined {
    return this.#lost
  }

  allocate(byteLength: number, purpose: string, { zeroed = false, mirrored = false } = {}): WebGpuBuffer {
    this.#assertUsable()
    if (byteLength > this.bufferBytes) {
      throw new RoutedAttentionError(
        'OUT_OF_MEMORY',
        `${purpose} needs ${byteLength} bytes in one buffer, and this GPU allows ${this.bufferBytes}`,
      )
    }
    this.gpu.pushErrorScope('out-of-memory')
    const buffer = new WebGpuBuffer(this, byteLength, mirrored)
    const check = this.gpu.popErrorScope().then((error) => {
      if (error) this.#refusedMemory ??= `${purpose} needs ${byteLength} bytes, which the GPU does not have: ${error.message}`
    })
    this.#checks = Promise.all([this.#checks, check]).then(
      () => undefined,
      () => undefined,
    )
    this.#used += buffer.footprint
    if (zeroed) buffer.clear()
    return buffer
  }

  release(buffer: WebGpuBuffer): void {
    this.#used -= buffer.footprint
    if (this.#disposed || this.#lost !== undefined) buffer.buffer.destroy()
    else this.pool.give(buffer.buffer)
  }

  packWeights(layout: WeightLayout, parameters: ParameterSource): DeviceBuffer {
    const buffer = this.allocate(layout.byteLength, 'the weights')
    try {
      packWeights(layout, parameters, buffer)
    } catch (error) {
      buffer.dispose()
      throw error
    }
    return buffer
  }

  /** A program that was taken in before, by whomever, is the same one: calls come again, and what binds it to buffers is kept. */
  compile(program: Program): CompiledProgram {
    this.#assertUsable()
    const key = program.words.join(' ')
    const known = this.#programs.get(key) ?? new WebGpuProgram(this.gpu, this.#pipelines, this.#header, program)
    this.#programs.delete(key)
    this.#programs.set(key, known)
    for (const [oldest, idle] of this.#programs) {
      if (this.#programs.size <= KEPT_PROGRAMS) break
      if (idle.release()) this.#programs.delete(oldest)
    }
    return known.retain()
  }

  async run(program: CompiledProgram, runs: Run | readonly Run[]): Promise<void> {
    this.#assertUsable()
    const all = (runs instanceof Run ? [runs] : runs).map((run) => ({ run, dispatches: (program as WebGpuProgram).dispatches(run) }))
    const preparing = all.flatMap(({ dispatches }) => dispatches.flatMap(({ pipeline }) => pipeline.prepare() ?? []))
    if (preparing.length > 0) {
      await this.#guard(Promise.all(preparing))
      this.#assertUsable()
    }
    const start = performance.now()
    // one behind the other on the queue, so that the GPU never waits for the host in between
    const handed = all.map(({ run, dispatches }) => ({ run, staging: this.#submit(dispatches, run) }))
    if (handed.every(({ staging }) => staging === undefined)) return this.#keepPace()
    try {
      const mapped = handed.flatMap(({ staging }) => (staging ? [staging.mapAsync(MapMode.READ)] : []))
      await this.#guard(Promise.all([this.#checks, ...mapped]))
      this.#assertUsable()
      const work = handed.reduce((sum, { run }) => sum + run.work, 0)
      if (Number.isFinite(work)) this.#rate = (1000 * work) / Math.max(0.01, performance.now() - start)
      for (const { run, staging } of handed) {
        if (staging) receive(run, staging)
      }
    } finally {
      for (const { staging } of handed) if (staging) this.#giveStaging(staging)
    }
  }

  /** Lets the host run ahead of the GPU, but not without end. */
  async #keepPace(): Promise<void> {
    // what goes wrong meanwhile is told by the next call that looks
    this.#ahead.push(this.gpu.queue.onSubmittedWorkDone().catch(() => undefined))
    if (this.#ahead.length <= CALLS_AHEAD) return
    await this.#ahead.shift()
    this.#assertUsable()
  }

  runHere(program: CompiledProgram, run: Run): void {
    this.#assertUsable()
    const staging = this.#submit((program as WebGpuProgram).dispatches(run), run)
    if (staging) this.#giveStaging(staging)
  }

  #giveStaging(staging: GPUBuffer): void {
    if (staging.mapState !== 'unmapped') staging.unmap()
    if (this.#disposed || this.#lost !== undefined) staging.destroy()
    else this.pool.give(staging)
  }

  /** Hands a run to the queue; returns what its results will be in. */
  #submit(dispatches: readonly Dispatch[], run: Run): GPUBuffer | undefined {
    const { gpu } = this
    gpu.queue.writeBuffer(this.#header, 0, headerOf(run))
    const share = Math.ceil(dispatches.length / this.#submissionsFor(run))
    for (let start = share; start < dispatches.length; start += share) {
      const encoder = gpu.createCommandEncoder()
      encodePass(encoder, dispatches.slice(start - share, start))
      gpu.queue.submit([encoder.finish()])
    }
    const encoder = gpu.createCommandEncoder()
    encodePass(encoder, dispatches.slice(share * (Math.ceil(dispatches.length / share) - 1)))
    const byteLength = run.results.reduce((sum, range) => sum + range.byteLength, 0)
    let staging: GPUBuffer | undefined
    if (byteLength > 0) {
      staging = this.pool.take(byteLength, BufferUsage.MAP_READ | BufferUsage.COPY_DST, Infinity)
      let at = 0
      for (const range of run.results) {
        encoder.copyBufferToBuffer((range.memory as WebGpuBuffer).buffer, range.byteOffset, staging, at, range.byteLength)
        at += range.byteLength
      }
    }
    gpu.queue.submit([encoder.finish()])
    return staging
  }

  /** Into how many submissions a run is cut: a page draws, and others compute, between them. */
  #submissionsFor({ work }: Run): number {
    return Number.isFinite(work) ? Math.max(1, Math.ceil(work / (this.#rate * LONGEST_SUBMISSION))) : 1
  }

  /** What fails because the GPU is gone fails as that. */
  async #guard(work: Promise<unknown>): Promise<void> {
    try {
      await work
    } catch (cause) {
      await Promise.resolve()
      this.#assertUsable()
      throw new RoutedAttentionError('DEVICE_LOST', `the GPU did not do its work: ${(cause as Error).message}`, { cause })
    }
  }

  #assertUsable(): void {
    if (this.#disposed) throw new RoutedAttentionError('DISPOSED', 'the runtime was disposed')
    if (this.#lost !== undefined) throw new RoutedAttentionError('DEVICE_LOST', `the GPU was lost: ${this.#lost}`)
    if (this.#refusedMemory !== undefined) {
      const message = this.#refusedMemory
      this.#refusedMemory = undefined
      throw new RoutedAttentionError('OUT_OF_MEMORY', message)
    }
  }

  async dispose(): Promise<void> {
    if (this.#disposed) return
    this.#disposed = true
    this.#header.destroy()
    this.pool.clear()
    this.gpu.destroy()
    await this.gpu.lost
  }
}

/** Hands a run's results to the buffers that they are of. */
function receive({ results }: Run, staging: GPUBuffer): void {
  const bytes = new Uint8Array(staging.getMappedRange())
  let at = 0
  for (const { memory, byteOffset, byteLength } of results) {
    ;(memory as WebGpuBuffer).receive(byteOffset, bytes.slice(at, at + byteLength))
    at += byteLength
  }
}

function encodePass(encoder: GPUCommandEncoder, dispatches: readonly Dispatch[]): void {
  const pass = encoder.beginComputePass()
  for (const { pipeline, group, workgroups } of dispatches) {
    pass.setPipeline(pipeline.get())
    pass.setBindGroup(0, group)
    pass.dispatchWorkgroups(...workgroups)
  }
  pass.end()
}

/** A run's header as shaders see it: buffers' offsets in words, positions as integers of two words. */
function headerOf(run: Run): Int32Array<ArrayBuffer> {
  const header = new Int32Array(HEADER_BYTES / 4)
  header.set(run.header)
  for (const word of [Piece.Position, Piece.WindowPosition] as const) {
    const position = run.position(word)
    header[word] = position | 0
    header[word + 1] = Math.floor(position / 2 ** 32)
  }
  for (let id = 0; id < Buffer.Length; id++) header[Piece.Buffers + id] = run.offsets[id]! / 4
  return header
}
