import { BufferUsage } from './constants.js'
import { HEADER_BYTES } from './kernel.js'
import type { Pipeline } from './pipelines.js'

/** Maximum number of dispatches waiting together; each has its header in its own slot, selected by dynamic offset. */
const SLOTS = 64
/** WebGPU's default `minUniformBufferOffsetAlignment`. */
const SLOT_BYTES = Math.ceil(HEADER_BYTES / 256) * 256
/**
 * Target for the maximum GPU time of a submission, in seconds: between submissions, pages render and other programs
 * compute.
 */
const LONGEST_SUBMISSION = 0.25
/** The share of that time assumed for a dispatch of unknown work. */
const UNKNOWN_SHARE = 1 / 8
/**
 * Operations per second assumed before the GPU has been measured: low, so that the first submissions are short rather
 * than long.
 */
const FIRST_RATE = 1e10
/** Maximum number of submissions that nothing is waiting for. */
const SUBMISSIONS_AHEAD = 32

/** One kernel of a dispatch. */
export interface WorkgroupDispatch {
  readonly pipeline: Pipeline
  readonly group: GPUBindGroup
  readonly workgroups: readonly [number, number, number]
}

interface WaitingDispatch {
  readonly dispatches: readonly WorkgroupDispatch[]
  readonly slot: number
  /** Estimated seconds for each of its kernels. */
  readonly secondsEach: number
}

type Encode = (encoder: GPUCommandEncoder) => void

/**
 * Work for a GPU, in order. It is submitted in batches, when its outcome is needed or enough has accumulated: each
 * submission costs about 35 µs between its last pass and the first pass of the next (an H100 through Dawn), as much as
 * several passes of a layer.
 */
export class WorkQueue {
  /** Buffer of the dispatch headers. */
  readonly headers: GPUBuffer
  readonly #gpu: GPUDevice
  readonly #watch: (scope: Promise<GPUError | null>) => void
  readonly #slots = new Int32Array((SLOTS * SLOT_BYTES) / 4)
  #usedSlots = 0
  #waiting: (WaitingDispatch | Encode)[] = []
  /** Estimated seconds of the waiting work. */
  #seconds = 0
  #rate = FIRST_RATE
  /** Submissions that nothing is waiting for, oldest first. */
  #ahead: Promise<unknown>[] = []

  /** @param watch called with each submission's error scope */
  constructor(gpu: GPUDevice, watch: (scope: Promise<GPUError | null>) => void) {
    this.#gpu = gpu
    this.#watch = watch
    this.headers = gpu.createBuffer({ size: SLOTS * SLOT_BYTES, usage: BufferUsage.UNIFORM | BufferUsage.COPY_DST })
  }

  /** @param header copied; @param work number of operations, Infinity if unknown */
  run(dispatches: readonly WorkgroupDispatch[], header: Int32Array, work: number): void {
    if (dispatches.length === 0) return
    if (this.#usedSlots === SLOTS) this.flush()
    const slot = this.#usedSlots++
    this.#slots.set(header, (slot * SLOT_BYTES) / 4)
    const seconds = Number.isFinite(work) ? work / this.#rate : LONGEST_SUBMISSION * UNKNOWN_SHARE
    this.#waiting.push({ dispatches, slot, secondsEach: seconds / dispatches.length })
    this.#seconds += seconds
    if (this.#seconds > LONGEST_SUBMISSION) this.flush()
  }

  clear(buffer: GPUBuffer, byteOffset: number, byteLength: number): void {
    this.#waiting.push((encoder) => encoder.clearBuffer(buffer, byteOffset, byteLength))
  }

  copy(from: GPUBuffer, fromOffset: number, to: GPUBuffer, toOffset: number, byteLength: number): void {
    this.#waiting.push((encoder) => encoder.copyBufferToBuffer(from, fromOffset, to, toOffset, byteLength))
  }

  write(buffer: GPUBuffer, byteOffset: number, bytes: Uint8Array<ArrayBuffer>): void {
    this.flush()
    this.#gpu.queue.writeBuffer(buffer, byteOffset, bytes)
  }

  /** Submits the waiting work. @param awaited whether its outcome is being waited for */
  flush(awaited = false): void {
    if (this.#waiting.length === 0) return
    const gpu = this.#gpu
    gpu.pushErrorScope('validation')
    if (this.#usedSlots > 0) gpu.queue.writeBuffer(this.headers, 0, this.#slots, 0, (this.#usedSlots * SLOT_BYTES) / 4)
    let encoder = gpu.createCommandEncoder()
    let pass: GPUComputePassEncoder | undefined
    let seconds = 0
    const submit = () => {
      pass?.end()
      pass = undefined
      gpu.queue.submit([encoder.finish()])
      seconds = 0
    }
    for (const waiting of this.#waiting) {
      if (typeof waiting === 'function') {
        pass?.end()
        pass = undefined
        waiting(encoder)
        continue
      }
      const { dispatches, slot, secondsEach } = waiting
      const offsets = [slot * SLOT_BYTES]
      for (const { pipeline, group, workgroups } of dispatches) {
        if (seconds > 0 && seconds + secondsEach > LONGEST_SUBMISSION) {
          submit()
          encoder = gpu.createCommandEncoder()
        }
        pass ??= encoder.beginComputePass()
        pass.setPipeline(pipeline.get())
        pass.setBindGroup(0, group, offsets)
        pass.dispatchWorkgroups(...workgroups)
        seconds += secondsEach
      }
    }
    submit()
    this.#watch(gpu.popErrorScope())
    this.#waiting = []
    this.#usedSlots = 0
    this.#seconds = 0
    // errors in the meantime are reported by the next call that checks
    if (!awaited) this.#ahead.push(gpu.queue.onSubmittedWorkDone().catch(() => undefined))
  }

  /** Lets the host run ahead of the GPU, within a limit. */
  async keepPace(): Promise<void> {
    while (this.#ahead.length > SUBMISSIONS_AHEAD) await this.#ahead.shift()
  }

  /** Records that all work is done, and at what speed. */
  caughtUp(work: number, seconds: number): void {
    this.#ahead = []
    if (Number.isFinite(work)) this.#rate = work / Math.max(1e-5, seconds)
  }

  /** Discards the waiting work. */
  drop(): void {
    this.#waiting = []
    this.headers.destroy()
  }
}
