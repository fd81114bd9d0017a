import { BufferIndex, DispatchHeader, type Device, type DeviceBuffer, Dispatch } from '../../device/device.js'
import { ResourceScope } from '../../device/resource-scope.js'
import type { Interrupt } from '../../interrupt.js'
import { roundUp } from '../../plan/memory/layout.js'
import type { ModelWeights } from '../../plan/memory/model-weights.js'
import { planFullSequenceModel } from '../../plan/model-plan.js'
import type { ModelConfig } from '../config/config.js'
import { runChunks } from './chunk-scheduler.js'
import { LogitsReader, prepareResult } from './logits-reader.js'
import { compileRouting, selectRouted } from './full-sequence-routing.js'
import type { Appended, Executor, LogitsResult, LogitsRequest, YieldPoint, Sequence } from './sequence.js'

/**
 * Reads sequences with full-sequence routing, where later tokens change earlier outputs (SPEC section 7): a sequence
 * keeps its tokens, and every request is one forward pass over all of them.
 */
export class FullSequenceExecutor implements Executor {
  readonly #device: Device
  readonly #config: ModelConfig
  readonly #parameters: ModelWeights
  readonly #weights: DeviceBuffer

  constructor(device: Device, config: ModelConfig, parameters: ModelWeights, weights: DeviceBuffer) {
    this.#device = device
    this.#config = config
    this.#parameters = parameters
    this.#weights = weights
  }

  createSequence(): Sequence {
    return new RecomputedSequence(this, new Int32Array(0))
  }

  restoreSequence(position: number, saved: Uint8Array): Sequence | undefined {
    if (saved.byteLength !== position * 4) return undefined
    const tokenIds = new Int32Array(saved.slice().buffer)
    return tokenIds.every((id) => id >= 0 && id < this.#config.numTokens) ? new RecomputedSequence(this, tokenIds) : undefined
  }

  /** One forward pass over all of `tokenIds`: block after block, each chunk by chunk. */
  async read(
    tokenIds: Int32Array,
    request: LogitsRequest,
    yieldPoint: YieldPoint,
    interrupt: Interrupt | undefined,
  ): Promise<LogitsResult> {
    const { layer } = this.#config
    const length = tokenIds.length
    const device = this.#device
    const plan = planFullSequenceModel(this.#config, this.#parameters, length, device)
    const { geometry, sequence } = plan
    const { memory } = sequence
    const rowBytes = geometry.stride * 4
    const { numTokens } = this.#config
    const result = prepareResult(numTokens, length, request)
    const scope = new ResourceScope(device)
    try {
      const stream = scope.allocate(roundUp(length) * rowBytes, "the sequence's rows")
      const scratch = scope.allocate(plan.scratchBytes, "the model's working memory")
      const state = scope.allocate(plan.stateBytes, "a layer's keys and values")
      const tokens = scope.allocate(roundUp(geometry.chunkRows) * 4, "a chunk's tokens")
      const dispatch = new Dispatch()
      dispatch.bind(BufferIndex.Weights, this.#weights)
      dispatch.bind(BufferIndex.Scratch, scratch)
      dispatch.bind(BufferIndex.TokenIds, tokens)
      dispatch.bind(BufferIndex.Contexts, scope.allocate(sequence.contextBytes, "the windows' contexts"))
      dispatch.bind(BufferIndex.State, state)
      dispatch.bind(BufferIndex.Call, scope.allocate(sequence.callBytes, "the sequence's routing"))
      dispatch.set(DispatchHeader.SequenceRows, length)
      dispatch.set(DispatchHeader.Average, Number(layer.averageRouted && memory.windows > 0))
      const head = new LogitsReader({ numTokens, scratch: plan.scratch, memory: scratch, byteOffset: 0 }, dispatch)
      // progress is reported in tokens: each block does a fraction of every token's work
      const passes = plan.blocks.length
      let pass = 0
      const pauseAt = (position: number) => yieldPoint(Math.floor((pass * length + position) / passes))
      const chunks = {
        device,
        geometry,
        submissions: [[dispatch]],
        start: { position: 0, base: 0 },
        length,
        operationsPerToken: Infinity, // never counted as small work
        interrupt,
      }
      const takeRows = (position: number) => dispatch.bind(BufferIndex.Input, stream, position * rowBytes)

      const headProgram = scope.compile(plan.head)
      await runChunks({
        ...chunks,
        program: scope.compile(plan.embed),
        prepare: (_dispatch, { rows, start: { position } }) => {
          takeRows(position)
          tokens.write(tokenIds.subarray(position, position + rows), 0)
        },
      })
      for (const programs of plan.blocks) {
        const compiled = new ResourceScope(device)
        try {
          const chunk = compiled.compile(programs.chunk)
          const routed = programs.routing && {
            device,
            dispatch,
            geometry,
            memory,
            chosenRows: sequence.chosenRows,
            input: stream,
            inputOffset: 0,
            programs: compileRouting(compiled, programs.routing),
            length,
            trace: false,
            yieldPoint: async () => pauseAt(0),
            interrupt,
          }
          if (routed) await selectRouted(routed, compiled)
          state.clear()
          const isLast = pass === passes - 1
          await runChunks({
            ...chunks,
            program: chunk,
            prepare: (_dispatch, { rows, start: { position } }) => {
              takeRows(position)
              if (!isLast) return
              head.describe(result, position, rows)
              dispatch.readbacks = head.results()
            },
            collect: () => (isLast ? head.read(() => device.run(headProgram, dispatch, interrupt)) : undefined),
            yieldPoint: pauseAt,
          })
        } finally {
          compiled.dispose()
        }
        pass++
      }
      return result
    } finally {
      scope.dispose()
    }
  }

  async logProbability(logits: Float32Array, target: number, interrupt?: Interrupt): Promise<number> {
    const plan = planFullSequenceModel(this.#config, this.#parameters, 1, this.#device)
    const scope = new ResourceScope(this.#device)
    try {
      const scratch = scope.allocate(plan.scratchBytes, "the model's working memory")
      const dispatch = new Dispatch()
      dispatch.bind(BufferIndex.Scratch, scratch)
      const head = new LogitsReader({ numTokens: this.#config.numTokens, scratch: plan.scratch, memory: scratch, byteOffset: 0 }, dispatch)
      head.describeTarget(logits, target)
      await this.#device.run(scope.compile(plan.logProbabilities), dispatch, interrupt)
      return head.readTarget()
    } finally {
      scope.dispose()
    }
  }

  dispose(): void {
    // every call allocates and releases its own memory
  }
}

class RecomputedSequence implements Sequence {
  readonly executor: FullSequenceExecutor
  #tokenIds: Int32Array

  constructor(executor: FullSequenceExecutor, tokenIds: Int32Array) {
    this.executor = executor
    this.#tokenIds = tokenIds
  }

  get position(): number {
    return this.#tokenIds.length
  }

  /** Its tokens are kept outside the runtime's memory. */
  get byteLength(): number {
    return 0
  }

  step(): boolean {
    return false
  }

  async append(tokenIds: Int32Array, request: LogitsRequest, yieldPoint: YieldPoint, interrupt?: Interrupt): Promise<Appended> {
    const all = new Int32Array(this.position + tokenIds.length)
    all.set(this.#tokenIds)
    all.set(tokenIds, this.position)
    const commit = () => (this.#tokenIds = all)
    const { rows, targets } = request
    if (rows === 'last' && targets) return { result: await this.#readEach(all, targets, yieldPoint, interrupt), commit }
    // A forward pass over all tokens does a fraction of each new token's work
    const pauseAt = (done: number) => yieldPoint(Math.floor((done * tokenIds.length) / all.length))
    return { result: await this.executor.read(all, request, pauseAt, interrupt), commit }
  }

  /** Later tokens change earlier results, so each token takes a forward pass over those before it. */
  async #readEach(all: Int32Array, targets: Int32Array, yieldPoint: YieldPoint, interrupt?: Interrupt): Promise<LogitsResult> {
    const logProbabilities = new Float64Array(targets.length)
    for (let done = 0; ; done++) {
      const before = all.subarray(0, this.position + done + 1)
      const { logits } = await this.executor.read(before, { rows: 'last' }, () => yieldPoint(done), interrupt)
      if (done === targets.length) return { logits, logProbabilities }
      logProbabilities[done] = await this.executor.logProbability(logits, targets[done]!, interrupt)
    }
  }

  clone(): Sequence {
    return new RecomputedSequence(this.executor, this.#tokenIds)
  }

  save(before = 0, after = 0): Uint8Array<ArrayBuffer> {
    const { buffer, byteOffset, byteLength } = this.#tokenIds
    const bytes = new Uint8Array(before + byteLength + after)
    bytes.set(new Uint8Array(buffer, byteOffset, byteLength), before)
    return bytes
  }

  dispose(): void {
    this.#tokenIds = new Int32Array(0)
  }
}
