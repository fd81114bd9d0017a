import { Piece, type DeviceBuffer, type Range, type Run } from '../device/device.js'
import { roundUp } from '../plan/layout.js'
import type { ModelScratch } from '../plan/model-steps.js'
import { Tensor } from '../tensor.js'
import type { LogitsAnswer, LogitsRequest } from './sequence.js'

/** An answer, and what it is to. */
export interface Answer extends LogitsAnswer {
  readonly request: LogitsRequest
  /** Tokens of the whole request. */
  readonly length: number
}

/** @throws RoutedAttentionError `OUT_OF_MEMORY` for more logits than this engine can hold */
export function prepareAnswer(numTokens: number, length: number, request: LogitsRequest): Answer {
  const rows = { last: Math.min(length, 1), all: length, none: 0 }[request.rows]
  return {
    request,
    length,
    logits: Tensor.zeros([rows, numTokens]).data,
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

/** Asks the head of a model, in the run of one piece after the other, for what answers a request, as many rows at a time as fit. */
export class HeadReader {
  readonly #place: HeadPlace
  readonly #run: Run
  #answer: Answer | undefined
  /** The token of the piece's first row that is answered; which of those rows come next, and how many there are. */
  #start = 0
  #next = 0
  #end = 0

  constructor(place: HeadPlace, run: Run) {
    this.#place = place
    this.#run = run
  }

  /** Fills the run's header for a piece of `rows` tokens, the request's token `start` first. */
  describe(answer: Answer, start: number, rows: number): void {
    const { rows: wanted, targets } = answer.request
    const isLast = start + rows === answer.length
    const counts = { last: Number(isLast), all: rows, none: targets ? Math.max(0, Math.min(rows, targets.length - start)) : 0 }
    const first = wanted === 'last' ? rows - 1 : 0
    this.#answer = answer
    this.#start = start + first
    this.#next = 0
    this.#end = counts[wanted]
    this.#run.set(Piece.AnswerFirst, first)
    this.#run.set(Piece.AnswerRows, this.#end)
    this.#ask()
  }

  /** Fills the run's header for a piece of one token whose logits are wanted: `readStep` reads them. */
  describeStep(): void {
    this.#run.set(Piece.AnswerFirst, 0)
    this.#run.set(Piece.AnswerRows, 1)
    this.#run.set(Piece.HeadFirst, 0)
    this.#run.set(Piece.HeadRows, 1)
    this.#run.set(Piece.TargetRows, 0)
  }

  /** Allocates nothing. */
  readStep(logits: Float32Array): void {
    this.#readLogits(logits, 0, 1)
  }

  /** Rows of the next run. */
  get #rows(): number {
    return Math.max(0, Math.min(this.#place.scratch.headRows, this.#end - this.#next))
  }

  #ask(): void {
    const { scratch, memory, byteOffset } = this.#place
    const { targets } = this.#answer!.request
    const token = this.#start + this.#next
    this.#run.set(Piece.HeadFirst, this.#next)
    this.#run.set(Piece.HeadRows, this.#rows)
    this.#run.set(Piece.TargetRows, targets ? this.#rows : 0)
    if (targets) memory.write(targets.subarray(token, token + this.#rows), byteOffset + scratch.targets.byteOffset)
  }

  /** What the run will leave that `read` collects. */
  results(): readonly Range[] {
    if (this.#rows === 0) return []
    const { numTokens, scratch, memory, byteOffset } = this.#place
    if (this.#answer!.request.targets)
      return [{ memory, byteOffset: byteOffset + scratch.logProbabilities.byteOffset, byteLength: this.#rows * 8 }]
    return [{ memory, byteOffset: byteOffset + scratch.logits.byteOffset, byteLength: this.#rows * roundUp(numTokens) * 4 }]
  }

  /** Collects what was asked for; where more rows are wanted than fit, `runHead` makes them from what the piece left. */
  async read(runHead: () => void | Promise<void>): Promise<void> {
    while (this.#next < this.#end) {
      this.#collect()
      this.#next += this.#rows
      if (this.#next >= this.#end) return
      this.#ask()
      this.#run.results = this.results()
      await runHead()
    }
  }

  #collect(): void {
    const { scratch, memory, byteOffset } = this.#place
    const { request, logits, logProbabilities } = this.#answer!
    const token = this.#start + this.#next
    if (request.targets) {
      logProbabilities.set(memory.readDoubles(byteOffset + scratch.logProbabilities.byteOffset, this.#rows), token)
      return
    }
    this.#readLogits(logits, request.rows === 'all' ? token : 0, this.#rows)
  }

  /** To rows `row`, `row` + 1, … of [rows, V]. */
  #readLogits(logits: Float32Array, row: number, rows: number): void {
    const { numTokens, scratch, memory, byteOffset } = this.#place
    memory.readRows(logits, row * numTokens, rows, numTokens, roundUp(numTokens), byteOffset + scratch.logits.byteOffset)
  }
}
