import type { LanguageModel } from '../index.js'
import { type Call, defineCommand, type Terminal } from './command.js'
import { UsageError } from './failures.js'
import { formatCount, formatRate, formatRuntime, formatTable } from './format.js'
import { loadOptions, modelOperand, runtimeOptions, withModel } from './model-source.js'
import { flag, integerFrom, number } from './options.js'

const options = {
  prefill: number(integerFrom(1), 'Number of prompt tokens. Default: 512.'),
  decode: number(integerFrom(1), 'Number of tokens after the prompt, one at a time. Default: 64.'),
  rounds: number(integerFrom(1), 'Number of rounds, after a warm-up round; the median is reported. Default: 5.'),
  ...runtimeOptions,
  ...loadOptions,
  json: flag('Write one JSON object: prefill and decode (tokens, tokensPerSecond, rounds), runtime.'),
}

export const bench = defineCommand({
  name: 'bench',
  summary: 'Measures how fast a model runs here.',
  operands: 'MODEL',
  about: `
MODEL is a folder, or the URL of one, with config.json and the weights.
Each round creates a session, appends a prompt in one call (prefill), then tokens one at a time (decode), without sampling.`,
  options,
  run,
})

async function run({ values, positionals, terminal }: Call<typeof options>): Promise<void> {
  const { place, input } = modelOperand(positionals)
  if (input === '-') throw new UsageError('bench reads nothing from the standard input')
  await withModel(place, values, terminal, (model) => measure(model, values, terminal))
}

async function measure(model: LanguageModel, values: Call<typeof options>['values'], terminal: Terminal): Promise<void> {
  const { prefill = 512, decode = 64, rounds = 5 } = values
  const { maxPositions } = model.config
  if (prefill + decode > (maxPositions ?? Infinity)) {
    throw new UsageError(`--prefill and --decode add up to ${prefill + decode}, more than the ${maxPositions} positions of this model`)
  }
  const prefillRates: number[] = []
  const decodeRates: number[] = []
  for (let round = 0; round <= rounds; round++) {
    const { prefillSeconds, decodeSeconds } = await playRound(model, prefill, decode, terminal.signal)
    terminal.status.show(() => `round ${round} of ${rounds}`)
    if (round === 0) continue
    prefillRates.push(prefill / prefillSeconds)
    decodeRates.push(decode / decodeSeconds)
  }
  terminal.status.clear()

  const result = {
    prefill: { tokens: prefill, tokensPerSecond: median(prefillRates), rounds: prefillRates },
    decode: { tokens: decode, tokensPerSecond: median(decodeRates), rounds: decodeRates },
    runtime: model.runtime.info,
  }
  if (values.json) return terminal.print(`${JSON.stringify(result)}\n`)
  const row = (name: 'prefill' | 'decode'): [string, string] => {
    const { tokens, tokensPerSecond, rounds: rates } = result[name]
    const range = `${formatRate(Math.min(...rates))} to ${formatRate(Math.max(...rates))} in ${formatCount(rounds)} rounds`
    return [name, `${formatRate(tokensPerSecond)} tokens/s over ${formatCount(tokens)} tokens (${range})`]
  }
  await terminal.print(formatTable([row('prefill'), row('decode'), ['runs on', formatRuntime(result.runtime)]]))
}

async function playRound(model: LanguageModel, prefill: number, decode: number, signal: AbortSignal) {
  // Walks through the vocabulary: the choice of tokens does not affect the amount of work.
  const tokenAt = (position: number) => (position * 7919) % model.config.numTokens
  // not `using`: the bundler's helper for it would be a separate file that every entry loads
  const session = model.createSession()
  try {
    const begin = performance.now()
    await session.append(
      Array.from({ length: prefill }, (_, position) => tokenAt(position)),
      { signal },
    )
    const middle = performance.now()
    for (let position = prefill; position < prefill + decode; position++) await session.append([tokenAt(position)], { signal })
    return { prefillSeconds: (middle - begin) / 1000, decodeSeconds: (performance.now() - middle) / 1000 }
  } finally {
    session.dispose()
  }
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}
