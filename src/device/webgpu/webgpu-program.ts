import { Buffer, Opcode, Piece } from '../../../assembly/steps.js'
import type { CompiledProgram, Program, Run } from '../device.js'
import { FIRST_BUFFER, type Kernel, type Place, STEP_VECTORS, type StepView } from './kernel.js'
import { doublesOf, kernelsOf } from './kernels/table.js'
import type { Pipeline, Pipelines } from './pipelines.js'
import type { WebGpuBuffer } from './webgpu-buffer.js'
import { BufferUsage } from './constants.js'

/** Where a uniform may begin: WebGPU's default `minUniformBufferOffsetAlignment`. */
const STEP_BYTES = Math.max(256, STEP_VECTORS * 16)
/** Sets of buffers whose bind groups are kept: sessions take turns. */
const KEPT_BINDINGS = 16

/** One dispatch of one run. */
export interface Dispatch {
  readonly pipeline: Pipeline
  readonly group: GPUBindGroup
  readonly workgroups: readonly [number, number, number]
}

/** A kernel with the buffers of certain runs. */
interface Bound {
  readonly pipeline: Pipeline
  readonly group: GPUBindGroup
}

class Step implements StepView {
  header: Int32Array = new Int32Array(0)

  constructor(readonly words: Int32Array) {}

  rows(operand: number, limit: Piece = Piece.Rows): number {
    const inHeader = (this.words[operand] as Buffer) === Buffer.Piece
    return this.header[inHeader ? this.words[operand + 1]! / 4 : limit]!
  }
}

/** A program with its steps' words on the GPU, and what binds them to runs' buffers. */
export class WebGpuProgram implements CompiledProgram {
  readonly #gpu: GPUDevice
  readonly #pipelines: Pipelines
  readonly #header: GPUBuffer
  readonly #steps: readonly Step[]
  readonly #words: GPUBuffer
  #holders = 0
  readonly #bindings = new Map<string, Map<string, Bound>>()

  /** @param header where every run's piece header will be */
  constructor(gpu: GPUDevice, pipelines: Pipelines, header: GPUBuffer, program: Program) {
    this.#gpu = gpu
    this.#pipelines = pipelines
    this.#header = header
    this.#steps = [...stepsOf(program.words)]
    this.#words = gpu.createBuffer({
      size: Math.max(1, this.#steps.length) * STEP_BYTES,
      usage: BufferUsage.UNIFORM | BufferUsage.COPY_DST,
    })
    const words = new Int32Array((this.#steps.length * STEP_BYTES) / 4)
    this.#steps.forEach((step, i) => words.set(shaderWords(step), (i * STEP_BYTES) / 4))
    gpu.queue.writeBuffer(this.#words, 0, words)
  }

  /** What a run consists of, in order. */
  dispatches(run: Run): Dispatch[] {
    const bindings = this.#bindingsOf(run)
    return this.#steps.flatMap((step, index) => {
      step.header = run.header
      return kernelsOf(step).flatMap((kernel) => {
        const [x, y = 1, z = 1] = kernel.workgroups(step)
        if (x * y * z === 0) return []
        const key = `${index} ${kernel.name}`
        let bound = bindings.get(key)
        if (!bound) {
          bound = this.#bind(kernel, step, index, run)
          bindings.set(key, bound)
        }
        return [{ ...bound, workgroups: [x, y, z] as const }]
      })
    })
  }

  /** The bind groups of runs with these buffers; those of the sets used longest ago are forgotten. */
  #bindingsOf(run: Run): Map<string, Bound> {
    const key = run.buffers.map((memory) => (memory as WebGpuBuffer | undefined)?.id).join(' ')
    const bindings = this.#bindings.get(key) ?? new Map<string, Bound>()
    this.#bindings.delete(key)
    this.#bindings.set(key, bindings)
    if (this.#bindings.size > KEPT_BINDINGS) this.#bindings.delete(this.#bindings.keys().next().value!)
    return bindings
  }

  /** Operands in one buffer share its binding: WebGPU lets no two of a dispatch overlap where one is written. */
  #bind(kernel: Kernel, step: Step, index: number, run: Run): Bound {
    const buffers: WebGpuBuffer[] = []
    const readOnly: boolean[] = []
    const places: Record<string, Place> = {}
    for (const [name, operand] of Object.entries(kernel.operands)) {
      const id = step.words[operand]! as Buffer
      if (id === Buffer.None || id === Buffer.Piece) {
        places[name] = id === Buffer.None ? 'none' : 'header'
        continue
      }
      const memory = run.buffers[id] as WebGpuBuffer | undefined
      if (!memory) throw new Error(`${kernel.name}: ${name} lies in buffer ${id}, which the run does not bind`)
      let place = buffers.indexOf(memory)
      if (place < 0) {
        place = buffers.push(memory) - 1
        readOnly.push(true)
      }
      places[name] = place
      if (kernel.code.includes(`${name}_set_`)) readOnly[place] = false
    }
    const pipeline = this.#pipelines.get(kernel, places, readOnly)
    const group = this.#gpu.createBindGroup({
      layout: pipeline.layout,
      entries: [
        { binding: 0, resource: { buffer: this.#header } },
        { binding: 1, resource: { buffer: this.#words, offset: index * STEP_BYTES, size: STEP_VECTORS * 16 } },
        ...buffers.map(({ buffer }, i) => ({ binding: FIRST_BUFFER + i, resource: { buffer } })),
      ],
    })
    return { pipeline, group }
  }

  retain(): this {
    this.#holders++
    return this
  }

  /** Gives its memory back if nobody has it, and says whether it did. */
  release(): boolean {
    if (this.#holders > 0) return false
    this.#words.destroy()
    this.#bindings.clear()
    return true
  }

  dispose(): void {
    this.#holders--
  }
}

function* stepsOf(words: Int32Array): Generator<Step> {
  for (let at = 0; (words[at] as Opcode) !== Opcode.End;) {
    const length = words[at + 1]!
    yield new Step(words.slice(at, at + length))
    at += length
  }
}

/** A step's words as shaders see them: f64s become f32s. */
function shaderWords(step: Step): Int32Array<ArrayBuffer> {
  const words = new Int32Array(STEP_VECTORS * 4)
  words.set(step.words)
  for (const at of doublesOf(step.words[0]!)) {
    const [value] = new Float64Array(step.words.slice(at, at + 2).buffer)
    words.set(new Int32Array(Float32Array.of(value!).buffer), at)
  }
  return words
}
