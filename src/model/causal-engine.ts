import { Buffer, type CompiledProgram, type Device, type DeviceBuffer, Run } from '../device/device.js'
import { RoutedAttentionError } from '../errors.js'
import { modelWorkPerToken, type ModelParameters } from '../plan/model-parameters.js'
import { type CausalModelPlan, planCausalModel, planTier } from '../plan/model-plan.js'
import { roundUp } from '../plan/layout.js'
import { describePiece, fillHeader, nextPieceRows, overwrites, type Place } from '../plan/piece.js'
import { changedState, freshPlace, stateLength, visitState } from '../plan/portable-state.js'
import type { ModelConfig } from './config.js'
import { HeadReader, prepareAnswer } from './head-reader.js'
import { Resources } from './resources.js'
import type { Appended, Engine, LogitsAnswer, LogitsRequest, Pause, Sequence } from './sequence.js'
import type { Interrupt } from '../interrupt.js'
import { Turns } from '../turns.js'

/**
 * Pieces of each lane that are handed over together: what the first and the last lane wait for at both ends of so many is about a hundredth of their time
 * (six layers), and a call is ended, or others come to their turn, soon enough.
 */
const PIECES_PER_LANE = 2

/** The run of one of the pieces that are handed over together. */
interface Slot {
  readonly run: Run
  readonly head: HeadReader
  /** Where its tokens lie. */
  readonly tokenOffset: number
}

/** A plan taken in by the device: it serves every sequence of up to `length` tokens, some pieces at a time. */
interface Tier {
  readonly length: number
  readonly plan: CausalModelPlan
  readonly tokens: DeviceBuffer
  readonly open: CompiledProgram
  readonly piece: CompiledProgram
  readonly head: CompiledProgram
  readonly logProbabilities: CompiledProgram
  readonly slots: readonly Slot[]
  readonly lanes: number
  /** Sequences share the slots: each has them for some pieces, its answers read, before the next sequence's begin. */
  readonly turns: Turns
}

/** Reads sequences with a strictly causal model: constant memory and constant work a token, at any position. */
export class CausalEngine implements Engine {
  readonly #device: Device
  readonly #config: ModelConfig
  readonly #parameters: ModelParameters
  readonly #weights: DeviceBuffer
  readonly #resources: Resources
  readonly #tiers = new Map<number, Tier>()
  readonly #token = new Int32Array(1)

  constructor(device: Device, config: ModelConfig, parameters: ModelParameters, weights: DeviceBuffer) {
    this.#device = device
    this.#config = config
    this.#parameters = parameters
    this.#weights = weights
    this.#resources = new Resources(device)
  }

  /** The plan for sequences of `length` tokens. */
  tier(length: number): Tier {
    const tierLength = planTier(this.#config.layer, length)
    const known = this.#tiers.get(tierLength)
    if (known) return known
    const plan = planCausalModel(this.#config, this.#parameters, tierLength, this.#device)
    const resources = new Resources(this.#device)
    try {
      const { batch } = this.#device
      const lanes = this.#device.lanes(plan.scratchBytes)
      const { numTokens } = this.#config
      const scratch = resources.allocate(lanes * plan.scratchBytes, "the model's working memory")
      const slotCount = Math.min(batch, PIECES_PER_LANE * lanes)
      const tokenBytes = roundUp(plan.geometry.pieceRows) * 4
      const tokens = resources.allocate(slotCount * tokenBytes, "the pieces' tokens")
      const slots = Array.from({ length: slotCount }, (_, index): Slot => {
        const run = new Run()
        run.lane = index % lanes
        const byteOffset = run.lane * plan.scratchBytes
        run.bind(Buffer.Weights, this.#weights)
        run.bind(Buffer.Scratch, scratch, byteOffset)
        run.bind(Buffer.Input, scratch, byteOffset + plan.streamOffset)
        run.bind(Buffer.TokenIds, tokens, index * tokenBytes)
        const head = new HeadReader({ numTokens, scratch: plan.scratch, memory: scratch, byteOffset }, run)
        return { run, head, tokenOffset: index * tokenBytes }
      })
      const tier: Tier = {
        length: tierLength,
        plan,
        tokens,
        open: resources.compile(plan.open),
        piece: resources.compile(plan.piece),
        head: resources.compile(plan.head),
        logProbabilities: resources.compile(plan.logProbabilities),
        slots,
        lanes,
        turns: new Turns(),
      }
      this.#tiers.set(tierLength, tier)
      this.#resources.adopt(resources)
      return tier
    } catch (error) {
      resources.dispose()
      throw error
    }
  }

  allocateState({ plan }: Tier, zeroed = false): DeviceBuffer {
    return this.#device.allocate(plan.stateBytes, "a session's state", { zeroed, mirrored: true })
  }

  /** The state of a sequence that has read nothing. */
  #openState(tier: Tier): DeviceBuffer {
    const state = this.allocateState(tier, true)
    this.#open(tier, state)
    return state
  }

  #open(tier: Tier, state: DeviceBuffer): void {
    const run = new Run()
    run.bind(Buffer.Weights, this.#weights)
    run.bind(Buffer.State, state)
    this.#device.runHere(tier.open, run)
  }

  createSequence(): Sequence {
    const tier = this.tier(1)
    return new CausalSequence(this, tier, this.#openState(tier), { position: 0, base: 0 })
  }

  restoreSequence(position: number, saved: Uint8Array): Sequence | undefined {
    if (saved.byteLength !== stateLength(this.#config, position) * 4) return undefined
    const tier = this.tier(position)
    const values = new Float32Array(saved.slice().buffer)
    return new CausalSequence(this, tier, this.importState(tier, position, values), freshPlace(tier.plan, position))
  }

  /**
   * What a state holds, in portable order.
   * @throws RoutedAttentionError `OUT_OF_MEMORY`
   */
  exportState({ plan }: Tier, state: DeviceBuffer, place: Place): Float32Array {
    const values = allocateFloats(stateLength(this.#config, place.position))
    const floats = inHostMemory(() => state.readFloats(0, plan.stateBytes / 4))
    let at = 0
    visitState(plan, place, (start, step, count) => {
      for (let i = 0; i < count; i++) values[at++] = floats[start + i * step]!
    })
    return values
  }

  /**
   * A state that holds `values`.
   * @throws RoutedAttentionError `OUT_OF_MEMORY`
   */
  importState(tier: Tier, position: number, values: Float32Array): DeviceBuffer {
    const floats = allocateFloats(tier.plan.stateBytes / 4)
    let at = 0
    visitState(tier.plan, freshPlace(tier.plan, position), (start, step, count) => {
      for (let i = 0; i < count; i++) floats[start + i * step] = values[at++]!
    })
    const state = this.allocateState(tier)
    state.write(floats, 0)
    this.#open(tier, state)
    return state
  }

  /** Runs `tokenIds` through the model from `start` on, some pieces at a time. The state is written behind `start` only where `overwrites` says so. */
  async read(
    tier: Tier,
    state: DeviceBuffer,
    start: Place,
    tokenIds: Int32Array,
    request: LogitsRequest,
    pause: Pause,
    interrupt: Interrupt | undefined,
  ): Promise<{ place: Place; answer: LogitsAnswer }> {
    const { plan, tokens, slots, lanes, turns } = tier
    const device = this.#device
    const answer = prepareAnswer(this.#config.numTokens, tokenIds.length, request)
    // each lane's working memory holds what the head makes of one piece
    const atOnce = Math.min(slots.length, request.rows === 'last' && !request.targets ? device.batch : lanes)
    let place = start
    for (let done = 0; done < tokenIds.length;) {
      await turns.take(async () => {
        const runs: Run[] = []
        while (runs.length < atOnce && done < tokenIds.length) {
          const { run, head, tokenOffset } = slots[runs.length]!
          const rows = nextPieceRows(plan.geometry, place.position, tokenIds.length - done)
          tokens.write(tokenIds.subarray(done, done + rows), tokenOffset)
          run.bind(Buffer.State, state)
          run.work = rows * modelWorkPerToken(this.#config)
          run.earlier = runs.at(-1)
          const before = place
          place = describePiece(run, plan.geometry, before, rows)
          head.describe(answer, done, rows)
          if (!device.seesMemory) {
            const changes = changedState(plan, before, place).map((range) => ({ memory: state, ...range }))
            run.results = [...head.results(), ...changes]
          }
          runs.push(run)
          done += rows
        }
        await device.run(tier.piece, runs.length === 1 ? runs[0]! : runs, interrupt)
        for (const { run, head } of slots.slice(0, runs.length)) await head.read(() => device.run(tier.head, run, interrupt))
      }, interrupt)
      const pausing = pause(done)
      if (pausing) await pausing
    }
    return { place, answer }
  }

  /** One token, within the call and without an allocation; @returns false, nothing done, where that cannot be. */
  step(tier: Tier, state: DeviceBuffer, place: { position: number; base: number }, tokenId: number, logits: Float32Array): boolean {
    const { plan, tokens, slots, turns } = tier
    const work = modelWorkPerToken(this.#config)
    if (turns.taken || !this.#device.isAtOnce(work)) return false
    const { run, head, tokenOffset } = slots[0]!
    this.#token[0] = tokenId
    tokens.write(this.#token, tokenOffset)
    run.bind(Buffer.State, state)
    run.work = work
    run.earlier = undefined
    head.describeStep()
    const base = fillHeader(run, plan.geometry, place, 1)
    void this.#device.run(tier.piece, run)
    place.position++
    place.base = base
    head.readStep(logits)
    return true
  }

  async logProbability(logits: Float32Array, target: number): Promise<number> {
    const { slots, turns, logProbabilities } = this.tier(1)
    const { run, head } = slots[0]!
    return turns.take(async () => {
      head.describeTarget(logits, target)
      run.work = logits.length
      run.earlier = undefined
      await this.#device.run(logProbabilities, run)
      run.results = []
      return head.readTarget()
    })
  }

  dispose(): void {
    this.#resources.dispose()
    this.#tiers.clear()
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
  #tier: Tier
  #state: DeviceBuffer
  readonly #place: { position: number; base: number }

  constructor(engine: CausalEngine, tier: Tier, state: DeviceBuffer, place: Place) {
    this.engine = engine
    this.#tier = tier
    this.#state = state
    this.#place = { ...place }
  }

  get position(): number {
    return this.#place.position
  }

  get byteLength(): number {
    return this.#state.byteLength
  }

  step(tokenId: number, logits: Float32Array): boolean {
    if (this.position + 1 > this.#tier.length || this.#overwrites(1)) return false
    return this.engine.step(this.#tier, this.#state, this.#place, tokenId, logits)
  }

  /**
   * What the state held before stays readable until the end: a piece that overwrites part of it (a window closes, the local buffer moves on; once in
   * many tokens) makes the whole append work on a copy.
   */
  async append(tokenIds: Int32Array, request: LogitsRequest, pause: Pause, interrupt?: Interrupt): Promise<Appended> {
    const tier = this.engine.tier(this.position + tokenIds.length)
    const before = this.#state
    let place: Place = { ...this.#place }
    let state = before
    if (tier !== this.#tier) {
      state = this.engine.importState(tier, place.position, this.engine.exportState(this.#tier, before, place))
      place = freshPlace(tier.plan, place.position)
    } else if (this.#overwrites(tokenIds.length)) {
      state = this.engine.allocateState(tier)
      state.copyFrom(before)
    }
    try {
      const result = await this.engine.read(tier, state, place, tokenIds, request, pause, interrupt)
      const commit = () => {
        this.#tier = tier
        this.#state = state
        Object.assign(this.#place, result.place)
        if (state !== before) before.dispose()
      }
      return { answer: result.answer, commit }
    } catch (error) {
      if (state !== before) state.dispose()
      throw error
    }
  }

  #overwrites(length: number): boolean {
    const { geometry } = this.#tier.plan
    if (nextPieceRows(geometry, this.position, length) < length) return true
    return overwrites(geometry, this.#place, length)
  }

  clone(): Sequence {
    const state = this.engine.allocateState(this.#tier)
    state.copyFrom(this.#state)
    return new CausalSequence(this.engine, this.#tier, state, this.#place)
  }

  save(): Uint8Array {
    return new Uint8Array(this.engine.exportState(this.#tier, this.#state, this.#place).buffer)
  }

  dispose(): void {
    this.#state.dispose()
  }
}
