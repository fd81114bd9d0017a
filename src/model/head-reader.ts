import { Piece, type DeviceBuffer, type Range, type Run } from '../device/device.js'
import { roundUp } from '../plan/layout.js'
import type { ModelScratch } from '../plan/model-steps.js'
import { Tensor } from '../tensor.js'
import type { LogitsAnswer, LogitsRequest } from './sequence.js'

/** Asks the head of a model for the logits of a request, as many rows at a time as fit, and collects them. */
export class HeadReader {
  readonly #numTokens: number
  readonly #scratch: ModelScratch
  readonly #length: number
  readonly #request: LogitsRequest
  readonly #logits: Float32Array
  readonly #logProbabilities: Float64Array
  /** The piece's first token, its length, and which of its rows come next and until where. */
  #start = 0
  #next = 0
  #end = 0

  /**
   * @param length tokens of the whole request
   * @throws RoutedAttentionError `OUT_OF_MEMORY` for more logits than this engine can hold
   */
  constructor(numTokens: number, scratch: ModelScratch, length: number, request: LogitsRequest) {
    this.#numTokens = numTokens
    this.#scratch = scratch
    this.#length = length
    this.#request = request
    const rows = { last: Math.min(length, 1), all: length, none: 0 }[request.rows]
    this.#logits = Tensor.zeros([rows, numTokens]).data
    this.#logProbabilities = new Float64Array(request.targets?.length ?? 0)
  }

  get answer(): LogitsAnswer {
    return { logits: this.#logits, logProbabilities: this.#logProbabilities }
  }

  /** Fills the header for a piece of `rows` tokens, the request's token `start` first. */
  describe(run: Run, scratch: DeviceBuffer, start: number, rows: number): void {
    const { rows: wanted, targets } = this.#request
    this.#start = start
    this.#next = wanted === 'last' ? rows - 1 : 0
    const last = start + rows === this.#length
    this.#end = wanted === 'all' || (wanted === 'last' && last) ? rows : targets ? Math.max(0, Math.min(rows, targets.length - start)) : 0
    this.#ask(run, scratch)
  }

  #ask(run: Run, scratch: DeviceBuffer): void {
    const rows = Math.max(0, Math.min(this.#scratch.headRows, this.#end - this.#next))
    run.set(Piece.HeadFirst, this.#next)
    run.set(Piece.HeadRows, rows)
    const { targets } = this.#request
    run.set(Piece.TargetRows, targets ? rows : 0)
    if (targets)
      scratch.write(targets.subarray(this.#start + this.#next, this.#start + this.#next + rows), this.#scratch.targets.byteOffset)
  }

  /** What the run will leave that `read` collects. */
  results(scratch: DeviceBuffer): readonly Range[] {
    const rows = Math.max(0, Math.min(this.#scratch.headRows, this.#end - this.#next))
    if (rows === 0) return []
    const { logits, logProbabilities } = this.#scratch
    if (this.#request.targets) return [{ memory: scratch, byteOffset: logProbabilities.byteOffset, byteLength: rows * 8 }]
    return [{ memory: scratch, byteOffset: logits.byteOffset, byteLength: rows * roundUp(this.#numTokens) * 4 }]
  }

  /** Collects what was asked for; where more rows are wanted than fit, `runHead` makes them from what the piece left. */
  async read(scratch: DeviceBuffer, runHead: () => void | Promise<void>, run: Run): Promise<void> {
    while (this.#next < this.#end) {
      const rows = Math.min(this.#scratch.headRows, this.#end - this.#next)
      this.#collect(scratch, rows)
      this.#next += rows
      if (this.#next >= this.#end) return
      this.#ask(run, scratch)
      run.results = this.results(scratch)
      await runHead()
    }
  }

  #collect(scratch: DeviceBuffer, rows: number): void {
    const token = this.#start + this.#next
    if (this.#request.targets) {
      this.#logProbabilities.set(scratch.readDoubles(this.#scratch.logProbabilities.byteOffset, rows), token)
      return
    }
    const at = this.#request.rows === 'all' ? token * this.#numTokens : 0
    scratch.readRows(this.#logits, at, rows, this.#numTokens, roundUp(this.#numTokens), this.#scratch.logits.byteOffset)
  }
}
