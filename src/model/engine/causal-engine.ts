import { BufferIndex, type CompiledProgram, type Device, type DeviceBuffer, Dispatch } from '../../device/device.js'
import { RoutedAttentionError } from '../../errors.js'
import { modelWorkPerToken, type ModelParameters } from '../../plan/memory/model-parameters.js'
import { type CausalModelPlan, planCausalModel, planBucket } from '../../plan/model-plan.js'
import { roundUp } from '../../plan/memory/layout.js'
import { describeChunk, fillHeader, nextChunkRows, needsCopyOnWrite, type Cursor } from '../../plan/chunk.js'
import { changedState, freshPlace, stateLength, visitState } from '../../plan/memory/portable-state.js'
import type { ModelConfig } from '../config/config.js'
import { LogitsReader, prepareResult } from './logits-reader.js'
import { ResourceScope } from '../../device/resource-scope.js'
import type { Appended, Engine, LogitsResult, LogitsRequest, YieldPoint, Sequence } from './sequence.js'
import type { Interrupt } from '../../interrupt.js'
import { Mutex } from '../../mutex.js'

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

/** A plan compiled by the device, for sequences of up to `length` tokens, several chunks at a time. */
interface CapacityBucket {
  readonly length: number
  readonly plan: CausalModelPlan
  readonly tokens: DeviceBuffer
  readonly open: CompiledProgram
  readonly chunk: CompiledProgram
  readonly head: CompiledProgram
  readonly logProbabilities: CompiledProgram
  readonly slots: readonly Slot[]
  readonly workerGroups: number
  /** Serialises the use of the slots: a sequence holds them for some chunks, until their results have been read. */
  readonly mutex: Mutex
}

/** Reads sequences with a causal model: constant memory, and constant work per token, at any position. */
export class CausalEngine implements Engine {
  readonly #device: Device
  readonly #config: ModelConfig
  readonly #parameters: ModelParameters
  readonly #weights: DeviceBuffer
  readonly #scope: ResourceScope
  readonly #buckets = new Map<number, CapacityBucket>()
  readonly #token = new Int32Array(1)

  constructor(device: Device, config: ModelConfig, parameters: ModelParameters, weights: DeviceBuffer) {
    this.#device = device
    this.#config = config
    this.#parameters = parameters
    this.#weights = weights
    this.#scope = new ResourceScope(device)
  }

  /** The plan for sequences of `length` tokens. */
  bucket(length: number): CapacityBucket {
    const bucketLength = planBucket(this.#config.layer, length)
    const known = this.#buckets.get(bucketLength)
    if (known) return known
    const plan = planCausalModel(this.#config, this.#parameters, bucketLength, this.#device)
    const scope = new ResourceScope(this.#device)
    try {
      const { batch } = this.#device
      const workerGroups = this.#device.workerGroups(plan.scratchBytes)
      const { numTokens } = this.#config
      const scratch = scope.allocate(workerGroups * plan.scratchBytes, "the model's working memory")
      const slotCount = Math.min(batch, CHUNKS_PER_WORKER_GROUP * workerGroups)
      const tokenBytes = roundUp(plan.geometry.chunkRows) * 4
      const tokens = scope.allocate(slotCount * tokenBytes, "the chunks' tokens")
      const slots = Array.from({ length: slotCount }, (_, index): Slot => {
        const dispatch = new Dispatch()
        dispatch.workerGroup = index % workerGroups
        const byteOffset = dispatch.workerGroup * plan.scratchBytes
        dispatch.bind(BufferIndex.Weights, this.#weights)
        dispatch.bind(BufferIndex.Scratch, scratch, byteOffset)
        dispatch.bind(BufferIndex.Input, scratch, byteOffset + plan.streamOffset)
        dispatch.bind(BufferIndex.TokenIds, tokens, index * tokenBytes)
        const head = new LogitsReader({ numTokens, scratch: plan.scratch, memory: scratch, byteOffset }, dispatch)
        return { dispatch, head, tokenOffset: index * tokenBytes }
      })
      const bucket: CapacityBucket = {
        length: bucketLength,
        plan,
        tokens,
        open: scope.compile(plan.open),
        chunk: scope.compile(plan.chunk),
        head: scope.compile(plan.head),
        logProbabilities: scope.compile(plan.logProbabilities),
        slots,
        workerGroups,
        mutex: new Mutex(),
      }
      this.#buckets.set(bucketLength, bucket)
      this.#scope.use(scope.move())
      return bucket
    } finally {
      scope.dispose()
    }
  }

  allocateState({ plan }: CapacityBucket, zeroed = false): DeviceBuffer {
    return this.#device.allocate(plan.stateBytes, "a session's state", { zeroed, mirrored: true })
  }

  /** The state of an empty sequence. */
  #openState(bucket: CapacityBucket): DeviceBuffer {
    const state = this.allocateState(bucket, true)
    this.#open(bucket, state)
    return state
  }

  #open(bucket: CapacityBucket, state: DeviceBuffer): void {
    const dispatch = new Dispatch()
    dispatch.bind(BufferIndex.Weights, this.#weights)
    dispatch.bind(BufferIndex.State, state)
    this.#device.runSync(bucket.open, dispatch)
  }

  createSequence(): Sequence {
    const bucket = this.bucket(1)
    return new CausalSequence(this, bucket, this.#openState(bucket), { position: 0, base: 0 })
  }

  restoreSequence(position: number, saved: Uint8Array): Sequence | undefined {
    if (saved.byteLength !== stateLength(this.#config, position) * 4) return undefined
    const bucket = this.bucket(position)
    const values = new Float32Array(saved.slice().buffer)
    return new CausalSequence(this, bucket, this.importState(bucket, position, values), freshPlace(bucket.plan, position))
  }

  /**
   * The contents of a state, in portable order.
   * @throws RoutedAttentionError `OUT_OF_MEMORY`
   */
  exportState({ plan }: CapacityBucket, state: DeviceBuffer, cursor: Cursor): Float32Array {
    const values = allocateFloats(stateLength(this.#config, cursor.position))
    const floats = inHostMemory(() => state.readFloats(0, plan.stateBytes / 4))
    let at = 0
    visitState(plan, cursor, (start, step, count) => {
      for (let i = 0; i < count; i++) values[at++] = floats[start + i * step]!
    })
    return values
  }

  /**
   * Creates a state with the given contents.
   * @throws RoutedAttentionError `OUT_OF_MEMORY`
   */
  importState(bucket: CapacityBucket, position: number, values: Float32Array): DeviceBuffer {
    const floats = allocateFloats(bucket.plan.stateBytes / 4)
    let at = 0
    visitState(bucket.plan, freshPlace(bucket.plan, position), (start, step, count) => {
      for (let i = 0; i < count; i++) floats[start + i * step] = values[at++]!
    })
    const state = this.allocateState(bucket)
    state.write(floats, 0)
    this.#open(bucket, state)
    return state
  }

  /**
   * Runs `tokenIds` through the model from `start` on, several chunks at a time. State before `start` is overwritten
   * only if `needsCopyOnWrite` says so.
   */
  async read(
    bucket: CapacityBucket,
    state: DeviceBuffer,
    start: Cursor,
    tokenIds: Int32Array,
    request: LogitsRequest,
    yieldPoint: YieldPoint,
    interrupt: Interrupt | undefined,
  ): Promise<{ cursor: Cursor; result: LogitsResult }> {
    const { plan, tokens, slots, workerGroups, mutex } = bucket
    const device = this.#device
    const result = prepareResult(this.#config.numTokens, tokenIds.length, request)
    // each worker group's scratch holds the head's results for one chunk
    const atOnce = Math.min(slots.length, request.rows === 'last' && !request.targets ? device.batch : workerGroups)
    let cursor = start
    for (let done = 0; done < tokenIds.length;) {
      await mutex.runExclusive(async () => {
        const dispatches: Dispatch[] = []
        while (dispatches.length < atOnce && done < tokenIds.length) {
          const { dispatch, head, tokenOffset } = slots[dispatches.length]!
          const rows = nextChunkRows(plan.geometry, cursor.position, tokenIds.length - done)
          tokens.write(tokenIds.subarray(done, done + rows), tokenOffset)
          dispatch.bind(BufferIndex.State, state)
          dispatch.operations = rows * modelWorkPerToken(this.#config)
          dispatch.dependsOn = dispatches.at(-1)
          const before = cursor
          cursor = describeChunk(dispatch, plan.geometry, before, rows)
          head.describe(result, done, rows)
          if (!device.hostVisible) {
            const changes = changedState(plan, before, cursor).map((range) => ({ memory: state, ...range }))
            dispatch.readbacks = [...head.results(), ...changes]
          }
          dispatches.push(dispatch)
          done += rows
        }
        await device.run(bucket.chunk, dispatches.length === 1 ? dispatches[0]! : dispatches, interrupt)
        for (const { dispatch, head } of slots.slice(0, dispatches.length))
          await head.read(() => device.run(bucket.head, dispatch, interrupt))
      }, interrupt)
      const pausing = yieldPoint(done)
      if (pausing) await pausing
    }
    return { cursor, result }
  }

  /** Reads one token synchronously without allocating; @returns false, having done nothing, if that is not possible. */
  step(
    bucket: CapacityBucket,
    state: DeviceBuffer,
    place: { position: number; base: number },
    tokenId: number,
    logits: Float32Array,
  ): boolean {
    const { plan, tokens, slots, mutex } = bucket
    const work = modelWorkPerToken(this.#config)
    if (mutex.isLocked || !this.#device.isSynchronous(work)) return false
    const { dispatch, head, tokenOffset } = slots[0]!
    this.#token[0] = tokenId
    tokens.write(this.#token, tokenOffset)
    dispatch.bind(BufferIndex.State, state)
    dispatch.operations = work
    dispatch.dependsOn = undefined
    head.describeToken()
    const base = fillHeader(dispatch, plan.geometry, place, 1)
    void this.#device.run(bucket.chunk, dispatch)
    place.position++
    place.base = base
    head.readToken(logits)
    return true
  }

  async logProbability(logits: Float32Array, target: number, interrupt?: Interrupt): Promise<number> {
    const { slots, mutex, logProbabilities } = this.bucket(1)
    const { dispatch, head } = slots[0]!
    return mutex.runExclusive(async () => {
      head.describeTarget(logits, target)
      dispatch.operations = logits.length
      dispatch.dependsOn = undefined
      await this.#device.run(logProbabilities, dispatch, interrupt)
      dispatch.readbacks = []
      return head.readTarget()
    }, interrupt)
  }

  dispose(): void {
    this.#scope.dispose()
    this.#buckets.clear()
  }
}

/** @throws RoutedAttentionError `OUT_OF_MEMORY` */
function allocateFloats(length: number): Float32Array {
  return inHostMemory(() => new Float32Array(length))
}

function inHostMemory(copy: () => Float32Array): Float32Array {
  try {
    return copy()
  } catch (cause) {
    throw new RoutedAttentionError('OUT_OF_MEMORY', 'there is no room for a copy of what the session holds', { cause })
  }
}

class CausalSequence implements Sequence {
  readonly engine: CausalEngine
  #bucketFor: CapacityBucket
  #state: DeviceBuffer
  readonly #place: { position: number; base: number }

  constructor(engine: CausalEngine, bucket: CapacityBucket, state: DeviceBuffer, cursor: Cursor) {
    this.engine = engine
    this.#bucketFor = bucket
    this.#state = state
    this.#place = { ...cursor }
  }

  get position(): number {
    return this.#place.position
  }

  get byteLength(): number {
    return this.#state.byteLength
  }

  step(tokenId: number, logits: Float32Array): boolean {
    if (this.position + 1 > this.#bucketFor.length || this.#overwrites(1)) return false
    return this.engine.step(this.#bucketFor, this.#state, this.#place, tokenId, logits)
  }

  /**
   * The previous state stays readable until the end: a chunk that overwrites part of it (a window closes, or the local
   * buffer moves; once in many tokens) makes the whole append work on a copy.
   */
  async append(tokenIds: Int32Array, request: LogitsRequest, yieldPoint: YieldPoint, interrupt?: Interrupt): Promise<Appended> {
    const bucket = this.engine.bucket(this.position + tokenIds.length)
    const before = this.#state
    let cursor: Cursor = { ...this.#place }
    let state = before
    if (bucket !== this.#bucketFor) {
      state = this.engine.importState(bucket, cursor.position, this.engine.exportState(this.#bucketFor, before, cursor))
      cursor = freshPlace(bucket.plan, cursor.position)
    } else if (this.#overwrites(tokenIds.length)) {
      state = this.engine.allocateState(bucket)
      state.copyFrom(before)
    }
    try {
      const result = await this.engine.read(bucket, state, cursor, tokenIds, request, yieldPoint, interrupt)
      const commit = () => {
        this.#bucketFor = bucket
        this.#state = state
        Object.assign(this.#place, result.cursor)
        if (state !== before) before.dispose()
      }
      return { result: result.result, commit }
    } catch (error) {
      if (state !== before) state.dispose()
      throw error
    }
  }

  #overwrites(length: number): boolean {
    const { geometry } = this.#bucketFor.plan
    if (nextChunkRows(geometry, this.position, length) < length) return true
    return needsCopyOnWrite(geometry, this.#place, length)
  }

  clone(): Sequence {
    const state = this.engine.allocateState(this.#bucketFor)
    state.copyFrom(this.#state)
    return new CausalSequence(this.engine, this.#bucketFor, state, this.#place)
  }

  save(): Uint8Array {
    return new Uint8Array(this.engine.exportState(this.#bucketFor, this.#state, this.#place).buffer)
  }

  dispose(): void {
    this.#state.dispose()
  }
}
