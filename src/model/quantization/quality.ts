import type { Signal } from '../../platform.js'
import type { EvaluateProgress } from '../evaluate.js'
import type { LanguageModel } from '../language-model.js'

/** Positions whose greedy choices are compared, of a text that has as many. */
const POSITIONS = 1000

/** What a model makes of a text. */
export interface Quality {
  /** Mean of -log2 p of every token but the first, over chunks as `evaluate` cuts them. */
  readonly bitsPerToken: number
  /** Number of tokens predicted. */
  readonly tokens: number
  /** The likeliest next token after each of the text's first 1,000 tokens (or all, if fewer), given the text up to it. */
  readonly choices: Int32Array
}

export interface MeasureOptions {
  readonly signal?: Signal | undefined
  readonly onProgress?: ((progress: EvaluateProgress) => void) | undefined
}

/** @param ids of a held-out text, at least two */
export async function measureQuality(model: LanguageModel, ids: readonly number[], options: MeasureOptions = {}): Promise<Quality> {
  const choices = await greedyChoices(model, ids.slice(0, POSITIONS), options.signal)
  const { bitsPerToken, tokens } = await model.evaluate(ids, { ...options })
  return { bitsPerToken, tokens, choices }
}

async function greedyChoices(model: LanguageModel, ids: readonly number[], signal: Signal | undefined): Promise<Int32Array> {
  const chunk = model.config.maxPositions ?? ids.length
  const choices = new Int32Array(ids.length)
  for (let start = 0; start < ids.length; start += chunk) {
    const { data, shape } = await model.forward(ids.slice(start, start + chunk), { signal })
    const [rows, columns] = shape as [number, number]
    for (let row = 0; row < rows; row++) choices[start + row] = indexOfLargest(data.subarray(row * columns, (row + 1) * columns))
  }
  return choices
}

/** The first, of several that are equal. */
function indexOfLargest(values: Float32Array): number {
  let best = 0
  for (let index = 1; index < values.length; index++) if (values[index]! > values[best]!) best = index
  return best
}

/** At how many positions both choose the same token. */
export function countAgreements(a: Int32Array, b: Int32Array): number {
  return a.reduce((count, choice, position) => count + Number(choice === b[position]), 0)
}
