import { BufferUsage } from './constants.js'
import { HEADER_BYTES } from './kernel.js'
import type { Pipeline } from './pipelines.js'

/** Runs that wait together, at most: each has its header in a slot of its own, behind a dynamic offset. */
const SLOTS = 64
/** WebGPU's default `minUniformBufferOffsetAlignment`. */
const SLOT_BYTES = Math.ceil(HEADER_BYTES / 256) * 256
/** Seconds that a submission should hold the GPU, at most, about: a page draws, and others compute, between them. */
const LONGEST_SUBMISSION = 0.25
/** What a dispatch whose work nobody knows is taken to need of that. */
const UNKNOWN_SHARE = 1 / 8
/**
 * Operations a second that a GPU is taken to do before it was seen: few, so that the first runs are cut rather than
 * long.
 */
const FIRST_RATE = 1e10
/** Submissions that may wait on the GPU without anyone waiting for them. */
const SUBMISSIONS_AHEAD = 32

/** One kernel of one dispatch. */
export interface WorkgroupDispatch {
  readonly pipeline: Pipeline
  readonly group: GPUBindGroup
  readonly workgroups: readonly [number, number, number]
}

interface WaitingDispatch {
  readonly dispatches: readonly WorkgroupDispatch[]
  readonly slot: number
  /** Seconds that each of its kernels should take. */
  readonly secondsEach: number
}

type Encode = (encoder: GPUCommandEncoder) => void

/**
 * Work on its way to a GPU, in the order in which it was given. It is handed over together, when somebody needs its
 * outcome or it has become much: each submission costs about 35 µs between its last pass and the next one's first (an
 * H100 through Dawn), as much as several passes of a layer.
 */
export class WorkQueue {
  /** Where the dispatches' headers are. */
  readonly headers: GPUBuffer
  readonly #gpu: GPUDevice
  readonly #watch: (scope: Promise<GPUError | null>) => void
  readonly #slots = new Int32Array((SLOTS * SLOT_BYTES) / 4)
  #usedSlots = 0
  #waiting: (WaitingDispatch | Encode)[] = []
  /** Seconds that what waits should take. */
  #seconds = 0
  #rate = FIRST_RATE
  /** Submissions that nobody waits for, the oldest first. */
  #ahead: Promise<unknown>[] = []

  /** @param watch is told of each submission: what is wrong with it, if anything */
  constructor(gpu: GPUDevice, watch: (scope: Promise<GPUError | null>) => void) {
    this.#gpu = gpu
    this.#watch = watch
    this.headers = gpu.createBuffer({ size: SLOTS * SLOT_BYTES, usage: BufferUsage.UNIFORM | BufferUsage.COPY_DST })
  }

  /** @param header copied; @param work operations, Infinity where nobody knows */
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

  /** Hands over what waits. @param awaited whether somebody waits for its outcome */
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
    // what goes wrong meanwhile is told by the next call that looks
    if (!awaited) this.#ahead.push(gpu.queue.onSubmittedWorkDone().catch(() => undefined))
  }

  /** Lets the host run ahead of the GPU, but not without end. */
  async keepPace(): Promise<void> {
    while (this.#ahead.length > SUBMISSIONS_AHEAD) await this.#ahead.shift()
  }

  /** Takes note that all is done, and of how fast. */
  caughtUp(work: number, seconds: number): void {
    this.#ahead = []
    if (Number.isFinite(work)) this.#rate = work / Math.max(1e-5, seconds)
  }

  /** Nothing that waits will be done. */
  drop(): void {
    this.#waiting = []
    this.headers.destroy()
  }
}
