import { BufferIndex, DispatchHeader } from '../../../assembly/ir/header.js'
import { Opcode } from '../../../assembly/ir/ops.js'
import type { CompiledProgram, Dispatch, Program } from '../device.js'
import { RoutedAttentionError } from '../../errors.js'
import type { OpName } from '../../program/encode-op.js'
import { DOUBLES, LIMITS, RESULTS } from '../../program/op-access.js'
import { FIRST_BUFFER, HEADER_BYTES, type Kernel, type OperandLocation, OP_VECTORS, type OpView } from './kernel.js'
import { kernelsOf } from './kernels/table.js'
import type { Pipeline, Pipelines } from './pipelines.js'
import type { WebGpuBuffer } from './webgpu-buffer.js'
import type { WorkgroupDispatch } from './work-queue.js'
import { BufferUsage } from './constants.js'

/** Alignment of uniform offsets: WebGPU's default `minUniformBufferOffsetAlignment`. */
const OP_BYTES = Math.max(256, OP_VECTORS * 16)
/** Storage buffers per pipeline: WebGPU's default `maxStorageBuffersPerShaderStage`. */
const MAX_BINDINGS = 8
/** Number of buffer sets whose bind groups are cached; sessions alternate. */
const KEPT_BINDINGS = 16

/** A kernel bound to the buffers of certain dispatches. */
interface Bound {
  readonly pipeline: Pipeline
  readonly group: GPUBindGroup
}

class Op implements OpView {
  header: Int32Array = new Int32Array(0)

  constructor(readonly words: Int32Array) {}

  get opcode(): OpName {
    return this.words[0] as OpName
  }

  rows(operand: number): number {
    const inHeader = (this.words[operand] as BufferIndex) === BufferIndex.DispatchHeader
    if (inHeader) return this.header[this.words[operand + 1]! / 4]!
    const limit = LIMITS[this.opcode]
    return this.header[limit === undefined ? DispatchHeader.Rows : this.words[limit]!]!
  }
}

/** A program whose op words are on the GPU, with the bind groups for its dispatches' buffers. */
export class WebGpuProgram implements CompiledProgram {
  readonly #gpu: GPUDevice
  readonly #pipelines: Pipelines
  readonly #headers: GPUBuffer
  readonly #ops: readonly Op[]
  readonly #words: GPUBuffer
  #holders = 0
  readonly #bindings = new Map<string, Map<string, Bound>>()

  /** @param headers buffer of the dispatch headers, selected by dynamic offset */
  constructor(gpu: GPUDevice, pipelines: Pipelines, headers: GPUBuffer, program: Program) {
    this.#gpu = gpu
    this.#pipelines = pipelines
    this.#headers = headers
    this.#ops = [...opsOf(program.words)]
    this.#words = gpu.createBuffer({
      size: Math.max(1, this.#ops.length) * OP_BYTES,
      usage: BufferUsage.UNIFORM | BufferUsage.COPY_DST,
    })
    const words = new Int32Array((this.#ops.length * OP_BYTES) / 4)
    this.#ops.forEach((op, i) => words.set(shaderWords(op), (i * OP_BYTES) / 4))
    gpu.queue.writeBuffer(this.#words, 0, words)
  }

  /** The workgroup dispatches of a dispatch, in order. */
  workgroupDispatches(dispatch: Dispatch): WorkgroupDispatch[] {
    const bindings = this.#bindingsOf(dispatch)
    return this.#ops.flatMap((op, index) => {
      op.header = dispatch.header
      return kernelsOf(op).flatMap((kernel) => {
        const [x, y = 1, z = 1] = kernel.workgroups(op)
        if (x * y * z === 0) return []
        const key = `${index} ${kernel.name}`
        let bound = bindings.get(key)
        if (!bound) {
          bound = this.#bind(kernel, op, index, dispatch)
          bindings.set(key, bound)
        }
        return [{ ...bound, workgroups: [x, y, z] as const }]
      })
    })
  }

  /** The bind groups for a dispatch's buffers; the least recently used sets are evicted. */
  #bindingsOf(dispatch: Dispatch): Map<string, Bound> {
    const key = dispatch.buffers
      .map((buffer, id) => {
        const memory = buffer as WebGpuBuffer | undefined
        // which parts are bound depends on where operands begin and end
        return memory && (memory.parts.length === 1 ? memory.id : `${memory.id}@${dispatch.offsets[id]}-${dispatch.ends[id]}`)
      })
      .join(' ')
    const bindings = this.#bindings.get(key) ?? new Map<string, Bound>()
    this.#bindings.delete(key)
    this.#bindings.set(key, bindings)
    if (this.#bindings.size > KEPT_BINDINGS) this.#bindings.delete(this.#bindings.keys().next().value!)
    return bindings
  }

  /** @throws RoutedAttentionError `OUT_OF_MEMORY` if operands span more parts of buffers than can be bound */
  #bind(kernel: Kernel, op: Op, index: number, dispatch: Dispatch): Bound {
    const { places, extents } = placeOperands(kernel, op, dispatch)
    const buffers = extents.flatMap(({ memory, first, end }) => memory.parts.slice(first, end))
    if (buffers.length > MAX_BINDINGS) {
      throw new RoutedAttentionError(
        'OUT_OF_MEMORY',
        `${kernel.name} works on ${buffers.length} buffers of what a GPU binds at most, and can bind ${MAX_BINDINGS} at once`,
      )
    }
    const memories = extents.map(({ memory, first, end, written }) => ({
      parts: end - first,
      whole: end - first === memory.parts.length,
      writable: written,
    }))
    const pipeline = this.#pipelines.get(kernel, { places, memories })
    const group = this.#gpu.createBindGroup({
      layout: pipeline.layout,
      entries: [
        { binding: 0, resource: { buffer: this.#headers, size: HEADER_BYTES } },
        { binding: 1, resource: { buffer: this.#words, offset: index * OP_BYTES, size: OP_VECTORS * 16 } },
        ...buffers.map((buffer, i) => ({ binding: FIRST_BUFFER + i, resource: { buffer } })),
      ],
    })
    return { pipeline, group }
  }

  /** One more holder, who will dispose of it. */
  retain(): this {
    this.#holders++
    return this
  }

  /** Frees its memory if nothing holds it; returns whether it did. */
  freeIfUnused(): boolean {
    if (this.#holders > 0) return false
    this.#words.destroy()
    this.#bindings.clear()
    return true
  }

  dispose(): void {
    this.#holders--
  }
}

/** The bound range of a buffer: parts [first, end). */
interface Extent {
  readonly memory: WebGpuBuffer
  readonly first: number
  readonly end: number
  readonly written: boolean
  readonly operands: readonly string[]
}

/**
 * Operands in the same parts of a buffer share a binding: WebGPU forbids overlapping bindings in a dispatch if one is
 * written.
 */
function placeOperands(
  kernel: Kernel,
  op: Op,
  dispatch: Dispatch,
): { places: Record<string, OperandLocation>; extents: readonly Extent[] } {
  const places: Record<string, OperandLocation> = {}
  let extents: Extent[] = []
  const results: readonly number[] = RESULTS[op.opcode]
  for (const [name, operand] of Object.entries(kernel.operands)) {
    const id = op.words[operand]! as BufferIndex
    if (id === BufferIndex.None || id === BufferIndex.DispatchHeader) {
      places[name] = id === BufferIndex.None ? 'none' : 'header'
      continue
    }
    const memory = dispatch.buffers[id] as WebGpuBuffer | undefined
    if (!memory) throw new Error(`${kernel.name}: ${name} lies in buffer ${id}, which the run does not bind`)
    const [first, end] = memory.partsOf(dispatch.offsets[id]! + op.words[operand + 1]!, dispatch.ends[id]!)
    let joined: Extent = { memory, first, end, written: results.includes(operand), operands: [name] }
    const apart: Extent[] = []
    for (const extent of extents) {
      const overlap = extent.memory === memory && extent.first < joined.end && joined.first < extent.end
      if (!overlap) apart.push(extent)
      else {
        joined = {
          memory,
          first: Math.min(extent.first, joined.first),
          end: Math.max(extent.end, joined.end),
          written: extent.written || joined.written,
          operands: [...extent.operands, ...joined.operands],
        }
      }
    }
    extents = [...apart, joined]
  }
  extents.forEach(({ operands }, index) => {
    for (const name of operands) places[name] = index
  })
  return { places, extents }
}

function* opsOf(words: Int32Array): Generator<Op> {
  for (let at = 0; (words[at] as Opcode) !== Opcode.End;) {
    const length = words[at + 1]!
    yield new Op(words.slice(at, at + length))
    at += length
  }
}

/** An op's words as seen by shaders: f64 become f32. */
function shaderWords(op: Op): Int32Array<ArrayBuffer> {
  const words = new Int32Array(OP_VECTORS * 4)
  words.set(op.words)
  for (const at of DOUBLES[op.opcode] ?? []) {
    const [value] = new Float64Array(op.words.slice(at, at + 2).buffer)
    words.set(new Int32Array(Float32Array.of(value!).buffer), at)
  }
  return words
}
