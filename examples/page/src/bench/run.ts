import { compareOutputs } from '../../../../bench/lib/difference.mjs'
import { inTurn } from '../../../../bench/lib/rounds.mjs'
import { count, significant } from '../../../../bench/lib/statistics.mjs'
import { runSweep } from '../../../../bench/lib/sweep.mjs'
import { Contender } from './contender.js'
import { type ContenderPlan, layerContenders, modelContenders, type Models, type Versions } from './contenders.js'
import type { Measurement } from './figures.js'

export interface Settings {
  readonly threads: number
  /** Tokens of the layer's inputs: 1,024 and 4,096 are in bench/reference-models. */
  readonly lengths: readonly number[]
  /** Tokens of the prompts. */
  readonly positions: readonly number[]
  readonly rounds: number
  /** Tokens that are decoded in a round. */
  readonly decoded: number
  /** Seconds of one contender's round of the layer, at least one forward. */
  readonly seconds: number
}

export interface BenchOptions {
  readonly settings: Settings
  readonly versions: Versions
  /** The command that installs what is missing. */
  readonly install: string
  readonly signal: AbortSignal
  /** Told who is doing what, and the share of all rounds that is done. */
  onProgress(what: string, share: number): void
  /** Given all measurements so far, after each round. */
  onFigures(measurements: readonly Measurement[]): void
}

/** Largest difference of the layer's outputs, relative to the largest value. */
const TOLERANCE = 1e-4

/** What a call does, in words. @param size tokens of its input, or of what comes before */
const WHAT: Readonly<Record<string, (size: number) => string>> = {
  open: () => 'Loading',
  prepareLayer: (n) => `The layer, ${count(n)} tokens, its first forwards`,
  time: () => 'The layer, forwards',
  prefill: (position) => `Reading a prompt of ${count(position)} tokens`,
  decode: (position) => `Decoding behind ${count(position)} tokens`,
}

/** Tokens beyond the prompt that a session must have room for. */
const ROOM = 64

/**
 * Measures the layer, then the language model. While one contender works, the others wait.
 * @throws the signal's reason when it is stopped
 */
export async function runBench(options: BenchOptions): Promise<void> {
  const bench = new Bench(options)
  await bench.measureLayer()
  await bench.measureModels()
}

class Bench {
  readonly #options: BenchOptions
  readonly #measurements = new Map<string, Measurement>()
  #rounds = 0

  constructor(options: BenchOptions) {
    this.#options = options
  }

  async measureLayer(): Promise<void> {
    const { lengths, rounds, seconds, threads } = this.#options.settings
    await this.#with(layerContenders(threads), async (contenders) => {
      for (const n of lengths) {
        const title = `The layer, ${count(n)} tokens`
        const agreement = await this.#prepareLayer(n, contenders)
        const tell = (results: readonly (readonly number[])[]): void =>
          this.#tell(title, { tokens: n, each: 'a forward', agreement }, contenders, (_, index) => results[index]!)
        await inTurn(contenders, rounds, (runner) => runner.call('time', seconds) as Promise<number>, tell)
      }
    })
  }

  async measureModels(): Promise<void> {
    const { positions, rounds, decoded, threads } = this.#options.settings
    this.#options.onProgress('Preparing the models', this.#share)
    const models = await modelsOf(this.#options.signal)
    const room = Math.max(...positions) + 2 * decoded + ROOM
    await this.#with(modelContenders(threads, room, models), async (contenders) => {
      await runSweep(contenders, positions, {
        rounds,
        tokens: decoded,
        onRound: (position, phase, seconds) => {
          const title = WHAT[phase]!(position)
          const of = phase === 'prefill' ? { tokens: position, each: 'to the first token' } : { tokens: 1, each: 'a token' }
          this.#tell(title, { ...of, agreement: '' }, contenders, (name) => seconds.get(name) ?? [])
        },
      })
    })
  }

  /** Opens contenders, and closes them whatever happens. */
  async #with(plans: readonly ContenderPlan[], measure: (contenders: readonly Contender[]) => Promise<void>): Promise<void> {
    const { signal, versions, install, onProgress } = this.#options
    const onCall = (name: string, method: string, [size]: readonly unknown[]): void =>
      onProgress(`${WHAT[method]?.(size as number) ?? method}: ${name}`, this.#share)
    const contenders = plans.map((plan) => new Contender(plan, signal, onCall))
    try {
      for (const contender of contenders) await contender.open(versions, install)
      await measure(contenders)
    } finally {
      for (const contender of contenders) contender.close()
    }
  }

  /** Prepares the forward of n tokens; who computes something else than ours is out. @returns how outputs agree, in words */
  async #prepareLayer(n: number, contenders: readonly Contender[]): Promise<string> {
    const outputs: unknown[] = []
    for (const { runner } of contenders) outputs.push(await runner.call('prepareLayer', n))
    const [ours, ...others] = outputs
    let agreement = ''
    for (const [index, output] of others.entries()) {
      if (!(ours instanceof Float32Array && output instanceof Float32Array)) continue
      const { difference, largest, agrees } = compareOutputs(output, ours, TOLERANCE)
      const found = `largest difference ${significant(difference, 2)}, where the largest value is ${significant(largest, 2)} and ${significant(TOLERANCE * largest, 2)} is allowed`
      if (agrees) agreement = `Both compute the same: ${found}.`
      else contenders[index + 1]!.fail(`it computes something else: ${found}`)
    }
    return agreement
  }

  /** Of all rounds, those that are done. */
  get #share(): number {
    const { lengths, positions, rounds } = this.#options.settings
    return this.#rounds / ((lengths.length + 2 * positions.length) * rounds)
  }

  #tell(
    title: string,
    measurement: Pick<Measurement, 'tokens' | 'each' | 'agreement'>,
    contenders: readonly Contender[],
    secondsOf: (name: string, index: number) => readonly number[],
  ): void {
    const rows = contenders.map(({ name, against, problem }, index) => {
      return { name, against, problem, seconds: [...secondsOf(name, index)] }
    })
    this.#rounds++
    this.#measurements.set(title, { title, ...measurement, rows })
    this.#options.onFigures([...this.#measurements.values()])
  }
}

async function modelsOf(signal: AbortSignal): Promise<Models> {
  const response = await fetch(new URL('./bench/models.json', document.baseURI), { signal })
  const answer = (await response.json()) as Models & { error?: string }
  if (!response.ok) throw new Error(`the models could not be written: ${answer.error ?? response.status}`)
  return answer
}
