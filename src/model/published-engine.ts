import { Buffer, Piece, type Device, type DeviceBuffer, Run } from '../device/device.js'
import type { Interrupt } from '../interrupt.js'
import { roundUp } from '../plan/layout.js'
import type { ModelParameters } from '../plan/model-parameters.js'
import { planSequenceModel, type SequenceModelPlan } from '../plan/model-plan.js'
import { describePiece, nextPieceRows, type Place } from '../plan/piece.js'
import type { ModelConfig } from './config.js'
import { HeadReader, prepareAnswer } from './head-reader.js'
import { Resources } from './resources.js'
import { decideRouting } from './sequence-run.js'
import type { Appended, Engine, LogitsAnswer, LogitsRequest, Pause, Sequence } from './sequence.js'

/**
 * Reads sequences with a model of the published routing, where later tokens change earlier outputs (SPEC section 7): a sequence keeps its tokens and
 * every answer is one forward over all of them.
 */
export class PublishedEngine implements Engine {
  readonly #device: Device
  readonly #config: ModelConfig
  readonly #parameters: ModelParameters
  readonly #weights: DeviceBuffer

  constructor(device: Device, config: ModelConfig, parameters: ModelParameters, weights: DeviceBuffer) {
    this.#device = device
    this.#config = config
    this.#parameters = parameters
    this.#weights = weights
  }

  createSequence(): Sequence {
    return new PublishedSequence(this, new Int32Array(0))
  }

  restoreSequence(position: number, saved: Uint8Array): Sequence | undefined {
    if (saved.byteLength !== position * 4) return undefined
    const tokenIds = new Int32Array(saved.slice().buffer)
    return tokenIds.every((id) => id >= 0 && id < this.#config.numTokens) ? new PublishedSequence(this, tokenIds) : undefined
  }

  /** One forward over all of `tokenIds`: layer after layer, each piece by piece. */
  async read(tokenIds: Int32Array, request: LogitsRequest, pause: Pause, interrupt: Interrupt | undefined): Promise<LogitsAnswer> {
    const { layer } = this.#config
    const length = tokenIds.length
    const device = this.#device
    const plan = planSequenceModel(this.#config, this.#parameters, length, device)
    const { geometry, sequence } = plan
    const { memory } = sequence
    const rowBytes = geometry.stride * 4
    const { numTokens } = this.#config
    const answer = prepareAnswer(numTokens, length, request)
    const resources = new Resources(device)
    try {
      const stream = resources.allocate(roundUp(length) * rowBytes, "the sequence's rows")
      const scratch = resources.allocate(plan.scratchBytes, "the model's working memory")
      const state = resources.allocate(plan.stateBytes, "a layer's keys and values")
      const tokens = resources.allocate(roundUp(geometry.pieceRows) * 4, "a piece's tokens")
      const run = new Run()
      run.bind(Buffer.Weights, this.#weights)
      run.bind(Buffer.Scratch, scratch)
      run.bind(Buffer.TokenIds, tokens)
      run.bind(Buffer.Contexts, resources.allocate(sequence.contextBytes, "the windows' contexts"))
      run.bind(Buffer.State, state)
      run.bind(Buffer.Call, resources.allocate(sequence.callBytes, "the sequence's routing"))
      run.set(Piece.SequenceRows, length)
      run.set(Piece.Average, Number(layer.averageRouted && memory.windows > 0))
      const head = new HeadReader({ numTokens, scratch: plan.scratch, memory: scratch, byteOffset: 0 }, run)
      // what is done is told in tokens: each layer does a share of every one
      const passes = plan.layers.length
      let pass = 0
      const pauseAt = async (position: number) => pause(Math.floor((pass * length + position) / passes))

      const embed = resources.compile(plan.embed)
      const headProgram = resources.compile(plan.head)
      await this.#pieces(plan, run, stream, length, async (position, rows) => {
        tokens.write(tokenIds.subarray(position, position + rows), 0)
        await device.run(embed, run, interrupt)
      })
      for (const programs of plan.layers) {
        const compiled = new Resources(device)
        try {
          const piece = compiled.compile(programs.piece)
          const keyValues = await decideRouting({
            device,
            run,
            geometry,
            memory,
            chosenRows: sequence.chosenRows,
            input: stream,
            inputOffset: 0,
            programs: {
              decisions: compiled.compile(programs.decisions),
              similarities: compiled.compile(programs.similarities),
              selections: compiled.compile(programs.selections),
              slots: compiled.compile(programs.slots),
              projections: programs.projections.map((program) => compiled.compile(program)),
              piece,
            },
            length,
            trace: false,
            pause: () => pauseAt(0),
            interrupt,
          })
          try {
            state.clear()
            await this.#pieces(plan, run, stream, length, async (position, rows) => {
              if (pass < passes - 1) {
                await device.run(piece, run, interrupt)
              } else {
                head.describe(answer, position, rows)
                run.results = head.results()
                await device.run(piece, run, interrupt)
                await head.read(() => device.run(headProgram, run, interrupt))
              }
              await pauseAt(position + rows)
            })
          } finally {
            keyValues?.dispose()
          }
        } finally {
          compiled.dispose()
        }
        pass++
      }
      return answer
    } finally {
      resources.dispose()
    }
  }

  async logProbability(logits: Float32Array, target: number): Promise<number> {
    const plan = planSequenceModel(this.#config, this.#parameters, 1, this.#device)
    const resources = new Resources(this.#device)
    try {
      const scratch = resources.allocate(plan.scratchBytes, "the model's working memory")
      const run = new Run()
      run.bind(Buffer.Scratch, scratch)
      const head = new HeadReader({ numTokens: this.#config.numTokens, scratch: plan.scratch, memory: scratch, byteOffset: 0 }, run)
      head.describeTarget(logits, target)
      await this.#device.run(resources.compile(plan.logProbabilities), run)
      return head.readTarget()
    } finally {
      resources.dispose()
    }
  }

  /** Visits the sequence's pieces, `Buffer.Input` bound to each one's rows. */
  async #pieces(
    { geometry }: SequenceModelPlan,
    run: Run,
    stream: DeviceBuffer,
    length: number,
    visit: (position: number, rows: number) => Promise<void>,
  ): Promise<void> {
    for (let place: Place = { position: 0, base: 0 }; place.position < length;) {
      const { position } = place
      const rows = nextPieceRows(geometry, position, length - position)
      run.bind(Buffer.Input, stream, position * geometry.stride * 4)
      place = describePiece(run, geometry, place, rows)
      await visit(position, rows)
    }
  }

  dispose(): void {
    // every call takes and gives back its own memory
  }
}

class PublishedSequence implements Sequence {
  readonly engine: PublishedEngine
  #tokenIds: Int32Array

  constructor(engine: PublishedEngine, tokenIds: Int32Array) {
    this.engine = engine
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

  async append(tokenIds: Int32Array, request: LogitsRequest, pause: Pause, interrupt?: Interrupt): Promise<Appended> {
    const all = new Int32Array(this.position + tokenIds.length)
    all.set(this.#tokenIds)
    all.set(tokenIds, this.position)
    const commit = () => (this.#tokenIds = all)
    const { rows, targets } = request
    if (rows === 'last' && targets) return { answer: await this.#readEach(all, targets, pause, interrupt), commit }
    // the forward over all of them does a share of each new token
    const pauseAt = (done: number) => pause(Math.floor((done * tokenIds.length) / all.length))
    return { answer: await this.engine.read(all, request, pauseAt, interrupt), commit }
  }

  /** What comes later decides on the answers before: so each token takes a forward over those before it. */
  async #readEach(all: Int32Array, targets: Int32Array, pause: Pause, interrupt?: Interrupt): Promise<LogitsAnswer> {
    const logProbabilities = new Float64Array(targets.length)
    for (let done = 0; ; done++) {
      const before = all.subarray(0, this.position + done + 1)
      const { logits } = await this.engine.read(before, { rows: 'last' }, () => pause(done), interrupt)
      if (done === targets.length) return { logits, logProbabilities }
      logProbabilities[done] = await this.engine.logProbability(logits, targets[done]!)
    }
  }

  clone(): Sequence {
    return new PublishedSequence(this.engine, this.#tokenIds)
  }

  save(): Uint8Array {
    return new Uint8Array(this.#tokenIds.slice().buffer)
  }

  dispose(): void {
    this.#tokenIds = new Int32Array(0)
  }
}
