import { BufferIndex, type CompiledProgram, type Device, type DeviceBuffer, Dispatch, DispatchHeader } from '../../device/device.js'
import type { Interrupt } from '../../interrupt.js'
import { type Cursor, fillHeader } from '../../plan/chunk.js'
import type { Geometry } from '../../plan/geometry.js'
import { roundUp } from '../../plan/memory/layout.js'
import type { ModelScratch } from '../../plan/ops/model-ops.js'

/** The next token of one sequence. */
export interface DecodeToken {
  readonly state: DeviceBuffer
  readonly cursor: Cursor
  readonly tokenId: number
  /** Where the logits after it are written, [V]. */
  readonly logits: Float32Array
}

/** What decoding needs of a capacity bucket; the buffers are used under the bucket's mutex. */
export interface DecodePlace {
  readonly device: Device
  readonly geometry: Geometry
  readonly numTokens: number
  readonly chunk: CompiledProgram
  readonly close: CompiledProgram | undefined
  readonly weights: DeviceBuffer
  readonly scratch: DeviceBuffer
  /** Offset of a chunk's rows in the scratch. */
  readonly streamOffset: number
  readonly modelScratch: ModelScratch
  readonly tokens: DeviceBuffer
  /** Room for the headers of `maxSequences`. */
  readonly sequences: DeviceBuffer
  readonly operationsPerToken: number
  readonly operationsPerClosing: number
}

/** Maximum sequences of a dispatch: those whose logits fit. */
export function maxSequences(device: Device, { chunkRows }: Geometry, { headRows }: ModelScratch): number {
  return Math.min(device.sequences, chunkRows, headRows)
}

/** Bytes of the headers of `count` sequences. */
export function sequenceHeaderBytes(count: number): number {
  return count * DispatchHeader.Length * 4
}

/** Reads one token of each of several sequences in one dispatch, so that weights are read once for all. */
export class DecodeDispatch {
  readonly #place: DecodePlace
  readonly #dispatch = new Dispatch()
  readonly #closing = new Dispatch()
  /** What is each sequence's own. */
  readonly #sequences: readonly Dispatch[]
  readonly #tokenIds: Int32Array
  readonly #bases: Float64Array

  constructor(place: DecodePlace, most: number) {
    this.#place = place
    this.#sequences = Array.from({ length: most }, () => new Dispatch())
    this.#tokenIds = new Int32Array(most)
    this.#bases = new Float64Array(most)
    for (const dispatch of [this.#dispatch, this.#closing]) {
      dispatch.bind(BufferIndex.Weights, place.weights)
      dispatch.bind(BufferIndex.Scratch, place.scratch)
    }
    this.#dispatch.bind(BufferIndex.Input, place.scratch, place.streamOffset)
    this.#dispatch.bind(BufferIndex.TokenIds, place.tokens)
    this.#dispatch.bind(BufferIndex.Sequences, place.sequences)
  }

  get most(): number {
    return this.#sequences.length
  }

  /**
   * Reads the tokens, at most `most`, and writes their logits. A state whose token begins a window has its context
   * updated first. Completes synchronously if the device does.
   */
  read(tokens: readonly DecodeToken[], interrupt: Interrupt): void | Promise<void> {
    this.#describe(tokens)
    const beginning = this.#place.close ? tokens.filter((_, row) => this.#sequences[row]!.header[DispatchHeader.ClosingRows]! > 0) : []
    const closing = this.#closeWindows(beginning, interrupt)
    return closing ? closing.then(() => this.#run(tokens, interrupt)) : this.#run(tokens, interrupt)
  }

  #run(tokens: readonly DecodeToken[], interrupt: Interrupt): void | Promise<void> {
    const running = this.#place.device.run(this.#place.chunk, this.#dispatch, interrupt)
    return running ? running.then(() => this.#collect(tokens)) : this.#collect(tokens)
  }

  #describe(tokens: readonly DecodeToken[]): void {
    const { geometry, operationsPerToken } = this.#place
    const dispatch = this.#dispatch
    const count = tokens.length
    let keys = 0
    let contexts = 0
    for (let row = 0; row < count; row++) {
      const { state, cursor, tokenId } = tokens[row]!
      const sequence = this.#sequences[row]!
      this.#tokenIds[row] = tokenId
      sequence.bind(BufferIndex.State, state)
      this.#bases[row] = fillHeader(sequence, geometry, cursor, 1)
      keys = Math.max(keys, sequence.header[DispatchHeader.LocalIndex]!)
      contexts = Math.max(contexts, sequence.header[DispatchHeader.ContextCount]!)
    }
    this.#place.tokens.write(this.#tokenIds.subarray(0, count), 0)
    dispatch.sequences = this.#sequences.slice(0, count)
    dispatch.set(DispatchHeader.Rows, count)
    dispatch.set(DispatchHeader.RequestedRows, count)
    dispatch.set(DispatchHeader.HeadRows, count)
    // the cost of attention is estimated from these
    dispatch.set(DispatchHeader.LocalIndex, keys)
    dispatch.set(DispatchHeader.ContextCount, contexts)
    dispatch.operations = count * operationsPerToken
  }

  /** One after the other; synchronously, as far as the device does. */
  #closeWindows(tokens: readonly DecodeToken[], interrupt: Interrupt): void | Promise<void> {
    const { device, geometry, close, operationsPerClosing } = this.#place
    for (const [index, { state, cursor }] of tokens.entries()) {
      fillHeader(this.#closing, geometry, cursor, 1)
      this.#closing.bind(BufferIndex.State, state)
      this.#closing.operations = operationsPerClosing
      const running = device.run(close!, this.#closing, interrupt)
      if (running) return running.then(() => this.#closeWindows(tokens.slice(index + 1), interrupt))
    }
  }

  #collect(tokens: readonly DecodeToken[]): void {
    const { numTokens, scratch, modelScratch } = this.#place
    const stride = roundUp(numTokens)
    tokens.forEach(({ logits }, row) => {
      scratch.readRows(logits, 0, 1, numTokens, stride, modelScratch.logits.byteOffset + row * stride * 4)
    })
  }

  /** The cursor after one of the tokens read last. */
  after({ cursor }: DecodeToken, row: number): Cursor {
    return { position: cursor.position + 1, base: this.#bases[row]! }
  }
}
