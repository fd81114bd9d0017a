import { DispatchHeader, type DeviceBuffer, type BufferRange, type Dispatch } from '../../device/device.js'
import { roundUp } from '../../plan/memory/layout.js'
import type { ModelScratch } from '../../plan/ops/model-ops.js'
import { Tensor } from '../../tensor.js'
import type { LogitsResult, LogitsRequest } from './sequence.js'

/** A result, and the request it belongs to. */
export interface LogitsReadback extends LogitsResult {
  readonly request: LogitsRequest
  /** Number of tokens in the whole request. */
  readonly length: number
}

/** @throws RoutedAttentionError `OUT_OF_MEMORY` for more logits than this engine can allocate */
export function prepareResult(numTokens: number, length: number, request: LogitsRequest): LogitsReadback {
  const rows = { last: Math.min(length, 1), all: length, none: 0 }[request.rows]
  return {
    request,
    length,
    logits: (request.rows === 'last' && request.into) || Tensor.zeros([rows, numTokens]).data,
    logProbabilities: new Float64Array(request.targets?.length ?? 0),
  }
}

/** Where a model's head works: `scratch` in `memory`, from `byteOffset` on. */
export interface HeadPlace {
  readonly numTokens: number
  readonly scratch: ModelScratch
  readonly memory: DeviceBuffer
  readonly byteOffset: number
}

/**
 * Requests logits and log probabilities from a model's head in the dispatches of successive chunks, as many rows at a
 * time as fit.
 */
export class LogitsReader {
  readonly #place: HeadPlace
  readonly #dispatch: Dispatch
  #result: LogitsReadback | undefined
  /** The token of the chunk's first requested row; the next of those rows, and their number. */
  #start = 0
  #next = 0
  #end = 0

  constructor(place: HeadPlace, dispatch: Dispatch) {
    this.#place = place
    this.#dispatch = dispatch
  }

  /** Sets the dispatch's header for a chunk of `rows` tokens, starting with the request's token `start`. */
  describe(result: LogitsReadback, start: number, rows: number): void {
    const { rows: wanted, targets } = result.request
    const isLast = start + rows === result.length
    // every row that has a target, and those whose logits are requested
    const first = wanted === 'last' && !targets ? rows - 1 : 0
    const counts = { last: Number(isLast), all: rows, none: 0 }
    const targetRows = targets ? Math.max(0, Math.min(rows, targets.length - start)) : 0
    this.#result = result
    this.#start = start + first
    this.#next = 0
    this.#end = targets ? Math.max(targetRows, isLast && wanted === 'last' ? rows : 0) : counts[wanted]
    this.#dispatch.set(DispatchHeader.RequestedFirst, first)
    this.#dispatch.set(DispatchHeader.RequestedRows, this.#end)
    this.#requestRows()
  }

  /** Sets the dispatch's header for a chunk of one token whose logits are requested; `readToken` reads them. */
  describeToken(): void {
    this.#dispatch.set(DispatchHeader.RequestedFirst, 0)
    this.#dispatch.set(DispatchHeader.RequestedRows, 1)
    this.#dispatch.set(DispatchHeader.HeadFirst, 0)
    this.#dispatch.set(DispatchHeader.HeadRows, 1)
    this.#dispatch.set(DispatchHeader.TargetRows, 0)
  }

  /**
   * Writes a row of logits and a target where a dispatch of the plan's `logProbabilities` expects them, and sets its
   * header.
   */
  describeTarget(logits: Float32Array, target: number): void {
    const { numTokens, scratch, memory, byteOffset } = this.#place
    memory.writeRows(logits, numTokens, roundUp(numTokens), byteOffset + scratch.logits.byteOffset)
    memory.write(Int32Array.of(target), byteOffset + scratch.targets.byteOffset)
    this.#dispatch.set(DispatchHeader.TargetRows, 1)
    this.#dispatch.readbacks = [{ memory, byteOffset: byteOffset + scratch.logProbabilities.byteOffset, byteLength: 8 }]
  }

  readTarget(): number {
    const { scratch, memory, byteOffset } = this.#place
    return memory.readDoubles(byteOffset + scratch.logProbabilities.byteOffset, 1)[0]!
  }

  /** Does not allocate. */
  readToken(logits: Float32Array): void {
    this.#readLogits(logits, 0, 1)
  }

  /** Rows of the next dispatch. */
  get #rows(): number {
    return Math.max(0, Math.min(this.#place.scratch.headRows, this.#end - this.#next))
  }

  /** The first of these, which have a target. */
  get #targetRows(): number {
    const { targets } = this.#result!.request
    return targets ? Math.min(this.#rows, targets.length - this.#start - this.#next) : 0
  }

  /** The last of these, whose logits are requested. */
  get #logitRows(): number {
    const { rows, targets } = this.#result!.request
    if (!targets) return this.#rows
    return Number(rows === 'last' && this.#rows > 0 && this.#start + this.#next + this.#rows === this.#result!.length)
  }

  #requestRows(): void {
    const { scratch, memory, byteOffset } = this.#place
    const { targets } = this.#result!.request
    const token = this.#start + this.#next
    const targetRows = this.#targetRows
    this.#dispatch.set(DispatchHeader.HeadFirst, this.#next)
    this.#dispatch.set(DispatchHeader.HeadRows, this.#rows)
    this.#dispatch.set(DispatchHeader.TargetRows, targetRows)
    if (targetRows > 0) memory.write(targets!.subarray(token, token + targetRows), byteOffset + scratch.targets.byteOffset)
  }

  /** The ranges that `read` will read after the dispatch. */
  results(): readonly BufferRange[] {
    const { numTokens, scratch, memory, byteOffset } = this.#place
    const rowBytes = roundUp(numTokens) * 4
    const readbacks: BufferRange[] = []
    if (this.#targetRows > 0)
      readbacks.push({ memory, byteOffset: byteOffset + scratch.logProbabilities.byteOffset, byteLength: this.#targetRows * 8 })
    if (this.#logitRows > 0) {
      const firstRow = this.#rows - this.#logitRows
      const logitsAt = byteOffset + scratch.logits.byteOffset + firstRow * rowBytes
      readbacks.push({ memory, byteOffset: logitsAt, byteLength: this.#logitRows * rowBytes })
    }
    return readbacks
  }

  /**
   * Collects the requested results; if more rows are requested than fit, `runHead` computes them from the chunk's
   * outputs.
   */
  async read(runHead: () => void | Promise<void>): Promise<void> {
    while (this.#next < this.#end) {
      this.#collect()
      this.#next += this.#rows
      if (this.#next >= this.#end) return
      this.#requestRows()
      this.#dispatch.readbacks = this.results()
      await runHead()
    }
  }

  #collect(): void {
    const { scratch, memory, byteOffset } = this.#place
    const { request, logits, logProbabilities } = this.#result!
    const token = this.#start + this.#next
    const targetRows = this.#targetRows
    const logitRows = this.#logitRows
    if (targetRows > 0) logProbabilities.set(memory.readDoubles(byteOffset + scratch.logProbabilities.byteOffset, targetRows), token)
    if (logitRows > 0) this.#readLogits(logits, request.rows === 'all' ? token : 0, logitRows, this.#rows - logitRows)
  }

  /** Reads into rows `row`, `row` + 1, … of [rows, V], starting with the head's row `first`. */
  #readLogits(logits: Float32Array, row: number, rows: number, first = 0): void {
    const { numTokens, scratch, memory, byteOffset } = this.#place
    const stride = roundUp(numTokens)
    memory.readRows(logits, row * numTokens, rows, numTokens, stride, byteOffset + scratch.logits.byteOffset + first * stride * 4)
  }
}
