import { BufferIndex, type CompiledProgram, type DeviceBuffer, Dispatch, DispatchHeader } from '../../device/device.js'
import { ResourceScope } from '../../device/resource-scope.js'
import type { Interrupt } from '../../interrupt.js'
import { type Cursor, fillHeader, heldCount, localCount } from '../../plan/chunk.js'
import { roundUp } from '../../plan/memory/layout.js'
import { modelWorkPerToken } from '../../plan/memory/model-weights.js'
import { changedState } from '../../plan/memory/portable-state.js'
import { type CausalModelPlan, planCausalModel } from '../../plan/model-plan.js'
import { projectionWork } from '../../plan/geometry.js'
import { countRouted } from '../../plan/routed-layers.js'
import { Inspector } from './causal-inspection.js'
import type { CausalModel } from './causal-model.js'
import { runChunks } from './chunk-scheduler.js'
import { ContextSnapshots } from './context-snapshots.js'
import { DecodeBatcher } from './decode-batcher.js'
import { DecodeDispatch, maxSequences, sequenceHeaderBytes } from './decode-dispatch.js'
import { LogitsReader, prepareResult } from './logits-reader.js'
import type { LogitsRequest, LogitsResult, YieldPoint } from './sequence.js'

/**
 * Chunks submitted together, per worker group. With this many, filling and draining the pipeline costs about 1 % of the
 * time (six layers), and an abort or another caller waits only briefly.
 */
const CHUNKS_PER_WORKER_GROUP = 2

/** The dispatch of one of the chunks submitted together. */
interface Slot {
  readonly dispatch: Dispatch
  readonly head: LogitsReader
  /** Offset of its tokens. */
  readonly tokenOffset: number
}

/**
 * A causal model's plan, compiled by the device, with the memory that it works in, for sequences of up to `length`
 * tokens. They share the slots: a sequence holds them for some chunks, until their results have been read.
 */
export class CapacityBucket {
  readonly model: CausalModel
  readonly length: number
  readonly plan: CausalModelPlan
  readonly snapshots: ContextSnapshots
  readonly #scope: ResourceScope
  readonly #scratch: DeviceBuffer
  readonly #tokens: DeviceBuffer
  readonly #open: CompiledProgram
  readonly #chunk: CompiledProgram
  readonly #head: CompiledProgram
  readonly #logProbabilities: CompiledProgram
  readonly #restoreLocal: CompiledProgram
  readonly #restoreContexts: CompiledProgram | undefined
  readonly #slots: readonly Slot[]
  readonly #workerGroups: number
  /** Absent if the device takes one sequence at a time. */
  readonly batcher: DecodeBatcher | undefined
  readonly #token = new Int32Array(1)
  #inspector: Inspector | undefined

  /**
   * @param length as `planBucket` gives it
   * @throws RoutedAttentionError `OUT_OF_MEMORY`
   */
  constructor(model: CausalModel, length: number) {
    const { device, config, parameters, weights } = model
    const { numTokens } = config
    const plan = planCausalModel(config, parameters, length, device)
    this.length = length
    this.plan = plan
    this.snapshots = new ContextSnapshots(plan)
    this.model = model
    const scope = new ResourceScope(device)
    try {
      const workerGroups = device.workerGroups(plan.scratchBytes)
      const scratch = scope.allocate(workerGroups * plan.scratchBytes, "the model's working memory")
      const slotCount = Math.min(device.submissionSize, CHUNKS_PER_WORKER_GROUP * workerGroups)
      const tokenBytes = roundUp(plan.geometry.chunkRows) * 4
      const sequenceCount = maxSequences(device, plan.geometry, plan.scratch)
      const tokens = scope.allocate(slotCount * tokenBytes, "the chunks' tokens")
      this.#workerGroups = workerGroups
      this.#scratch = scratch
      this.#tokens = tokens
      this.#slots = Array.from({ length: slotCount }, (_, index): Slot => {
        const dispatch = new Dispatch()
        dispatch.workerGroup = index % workerGroups
        const byteOffset = dispatch.workerGroup * plan.scratchBytes
        dispatch.bind(BufferIndex.Weights, weights)
        dispatch.bind(BufferIndex.Scratch, scratch, byteOffset)
        dispatch.bind(BufferIndex.Input, scratch, byteOffset + plan.streamOffset)
        dispatch.bind(BufferIndex.TokenIds, tokens, index * tokenBytes)
        const head = new LogitsReader({ numTokens, scratch: plan.scratch, memory: scratch, byteOffset }, dispatch)
        return { dispatch, head, tokenOffset: index * tokenBytes }
      })
      this.#open = scope.compile(plan.open)
      this.#chunk = scope.compile(plan.chunk)
      this.#head = scope.compile(plan.head)
      this.#logProbabilities = scope.compile(plan.logProbabilities)
      this.#restoreLocal = scope.compile(plan.restoring.local)
      this.#restoreContexts = plan.restoring.contexts && scope.compile(plan.restoring.contexts)
      if (sequenceCount > 1) {
        const place = {
          device,
          geometry: plan.geometry,
          numTokens,
          chunk: this.#chunk,
          close: plan.close && scope.compile(plan.close),
          weights,
          scratch,
          streamOffset: plan.streamOffset,
          modelScratch: plan.scratch,
          tokens,
          sequences: scope.allocate(sequenceHeaderBytes(sequenceCount), "the sequences' headers"),
          operationsPerToken: modelWorkPerToken(config),
          operationsPerClosing: countRouted(config) * config.layer.numExperts * plan.geometry.windowCapacity * projectionWork(config.layer),
        }
        this.batcher = new DecodeBatcher(new DecodeDispatch(place, sequenceCount), model.mutex, device.isolatesCallers, model.decodeCounts)
      }
      this.#scope = scope.move()
    } finally {
      scope.dispose()
    }
  }

  /**
   * Reads what its states' last tokens attended to.
   * @throws RoutedAttentionError `OUT_OF_MEMORY`
   */
  get inspector(): Inspector {
    return (this.#inspector ??= new Inspector(this.model, this.plan, this.#scratch, this.#scope))
  }

  /**
   * @param fill writes its contents; if it throws, the memory is released
   * @throws RoutedAttentionError `OUT_OF_MEMORY`
   */
  allocateState(fill: (state: DeviceBuffer) => void, { zeroed = false } = {}): DeviceBuffer {
    const scope = new ResourceScope(this.model.device)
    try {
      const state = scope.allocate(this.plan.stateBytes, "a session's state", { zeroed, mirrored: true })
      fill(state)
      scope.move()
      return state
    } finally {
      scope.dispose()
    }
  }

  /** Writes what the plan expects in a state before the first token. */
  open(state: DeviceBuffer): void {
    const dispatch = new Dispatch()
    dispatch.bind(BufferIndex.Weights, this.model.weights)
    dispatch.bind(BufferIndex.State, state)
    this.model.device.runSync(this.#open, dispatch)
  }

  /**
   * Runs `tokenIds` through the model from `start` on, several chunks at a time. State before `start` is overwritten
   * only if `needsCopyOnWrite` says so.
   */
  async read(
    state: DeviceBuffer,
    start: Cursor,
    tokenIds: Int32Array,
    request: LogitsRequest,
    yieldPoint: YieldPoint,
    interrupt: Interrupt | undefined,
  ): Promise<{ cursor: Cursor; result: LogitsResult }> {
    const { device, config } = this.model
    const { plan } = this
    const result = prepareResult(config.numTokens, tokenIds.length, request)
    // each worker group's scratch holds the head's results for one chunk
    const maxChunks = Math.min(this.#slots.length, request.rows === 'last' && !request.targets ? device.submissionSize : this.#workerGroups)
    const cursor = await runChunks({
      device,
      program: this.#chunk,
      geometry: plan.geometry,
      submissions: [this.#slots.slice(0, maxChunks).map(({ dispatch }) => dispatch)],
      // other sessions' tokens wait for the time of one chunk at most
      limit: () => (this.batcher?.takeActivity() ? this.#workerGroups : maxChunks),
      start,
      length: tokenIds.length,
      operationsPerToken: modelWorkPerToken(config),
      prepare: (dispatch, { slot, rows, start: before, end: after }) => {
        const { head, tokenOffset } = this.#slots[slot]!
        const done = before.position - start.position
        this.#tokens.write(tokenIds.subarray(done, done + rows), tokenOffset)
        dispatch.bind(BufferIndex.State, state)
        head.describe(result, done, rows)
        if (device.hostVisible) return
        const changes = changedState(plan, before, after).map((range) => ({ memory: state, ...range }))
        dispatch.readbacks = [...head.results(), ...changes]
      },
      collect: (dispatch, { slot }) => this.#slots[slot]!.head.read(() => device.run(this.#head, dispatch, interrupt)),
      mutex: this.model.mutex,
      yieldPoint,
      interrupt,
    })
    return { cursor, result }
  }

  /**
   * Makes the keys and values of a state's inputs, some tokens at a time. If interrupted, it may be started again.
   * @param cursor of a state that was imported
   */
  async project(state: DeviceBuffer, { position, base }: Cursor, yieldPoint: YieldPoint, interrupt: Interrupt | undefined): Promise<void> {
    const { device, config } = this.model
    const { geometry, restoring } = this.plan
    const { layer, depth } = config
    const { dispatch } = this.#slots[0]!
    const operations = projectionWork(layer)
    const length = localCount(layer, position)
    await runChunks({
      device,
      program: this.#restoreLocal,
      geometry,
      submissions: [[dispatch]],
      start: { position: position - length, base },
      length,
      operationsPerToken: depth * 1.5 * operations,
      prepare: () => {
        dispatch.bind(BufferIndex.State, state)
        dispatch.readbacks = []
      },
      mutex: this.model.mutex,
      yieldPoint: () => yieldPoint(0),
      interrupt,
    })
    const context = this.#restoreContexts ? heldCount(layer, position) : 0
    for (let first = 0; first < context; first += restoring.contextRows) {
      const rows = Math.min(restoring.contextRows, context - first)
      await this.model.mutex.runExclusive(async () => {
        dispatch.bind(BufferIndex.State, state)
        dispatch.readbacks = []
        dispatch.set(DispatchHeader.Rows, rows)
        dispatch.set(DispatchHeader.FirstRow, first)
        dispatch.set(DispatchHeader.ClosingRows, rows)
        dispatch.dependsOn = undefined
        dispatch.operations = rows * countRouted(config) * layer.numExperts * operations
        await device.run(this.#restoreContexts!, dispatch, interrupt)
      }, interrupt)
      await yieldPoint(0)
    }
  }

  /**
   * Reads one token that needs no copy on write, synchronously and without allocating; @returns the cursor's base after
   * it, or undefined, having done nothing, if that is not possible.
   */
  step(state: DeviceBuffer, cursor: Cursor, tokenId: number, logits: Float32Array): number | undefined {
    const { device, config, mutex } = this.model
    const work = modelWorkPerToken(config)
    if (mutex.isLocked || !device.isSynchronous(work)) return undefined
    const { dispatch, head, tokenOffset } = this.#slots[0]!
    this.#token[0] = tokenId
    this.#tokens.write(this.#token, tokenOffset)
    dispatch.bind(BufferIndex.State, state)
    dispatch.operations = work
    dispatch.dependsOn = undefined
    head.describeToken()
    const base = fillHeader(dispatch, this.plan.geometry, cursor, 1)
    void device.run(this.#chunk, dispatch)
    head.readToken(logits)
    return base
  }

  logProbability(logits: Float32Array, target: number, interrupt: Interrupt | undefined): Promise<number> {
    const { dispatch, head } = this.#slots[0]!
    return this.model.mutex.runExclusive(async () => {
      head.describeTarget(logits, target)
      dispatch.operations = logits.length
      dispatch.dependsOn = undefined
      await this.model.device.run(this.#logProbabilities, dispatch, interrupt)
      dispatch.readbacks = []
      return head.readTarget()
    }, interrupt)
  }

  dispose(): void {
    this.#scope.dispose()
  }
}
