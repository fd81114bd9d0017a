import type { LanguageModel } from '../index.js'
import { type Call, defineCommand, type Terminal } from './command.js'
import { UsageError } from './failures.js'
import { formatCount, formatRate, formatRuntime } from './format.js'
import { loadOptions, modelOperand, runtimeOptions, withModel } from './model-source.js'
import { anyNumber, anyText, flag, integerFrom, number, texts } from './options.js'
import { readStandardInput } from './text-input.js'

const options = {
  prompt: anyText('TEXT', 'Text to continue. Without it, or with -, the prompt is read from the standard input.'),
  'max-tokens': number(integerFrom(0), 'Most tokens to write. Default: 256.'),
  temperature: number(
    { expected: 'a number from 0', fits: (value) => value >= 0 },
    'What logits are divided by; 0 takes the most probable token. Default: 1.',
  ),
  'top-k': number(integerFrom(1), 'Choose among this many of the most probable tokens. Default: all.'),
  'top-p': number(
    { expected: 'a number above 0 and up to 1', fits: (value) => value > 0 && value <= 1 },
    'Choose among the fewest tokens whose probabilities sum to this. Default: 1.',
  ),
  seed: number(anyNumber, 'The same seed gives the same text. Default: a new one each time; the summary tells it.'),
  stop: texts('TEXT', 'End before this text.'),
  echo: flag('Write the prompt before the text.'),
  ...runtimeOptions,
  ...loadOptions,
  json: flag('Write JSON lines: {"type":"token","id","text","logprob"} for each token, {"type":"end",…} with the summary last.'),
}

export const generate = defineCommand({
  name: 'generate',
  summary: 'Continues a text.',
  operands: 'MODEL [-]',
  about: `
MODEL is a folder, or the URL of one, with config.json, the weights and tokenizer.json.
The text goes to the standard output as it is made, with a line feed after its end; a summary of the run goes to the standard error.
A prompt from the standard input is UTF-8; one line break at its end is left out.
Ctrl-C ends the text and still gives the summary, with exit code 130.`,
  options,
  run,
})

async function run({ values, positionals, terminal }: Call<typeof options>): Promise<void> {
  const { place, isPiped } = modelOperand(positionals)
  const prompt = await readPrompt(values.prompt, isPiped, terminal)
  if (prompt === '') throw new UsageError('the prompt is empty; give a text with --prompt, or pipe one in')
  await withModel(place, values, terminal, (model) => write(model, prompt, values, terminal))
}

async function readPrompt(given: string | undefined, isPiped: boolean, terminal: Terminal): Promise<string> {
  if (given !== undefined && given !== '-') {
    if (isPiped) throw new UsageError('give either --prompt TEXT or - for the standard input, not both')
    return given
  }
  if (given === undefined && !isPiped && process.stdin.isTTY) {
    throw new UsageError('no prompt was given: use --prompt TEXT, pipe a text in, or type one after -')
  }
  return (await readStandardInput(terminal.signal)).text.replace(/\r?\n$/, '')
}

async function write(model: LanguageModel, prompt: string, values: Call<typeof options>['values'], terminal: Terminal): Promise<void> {
  const { signal } = terminal
  const { temperature, stop, json, echo, seed = Math.floor(Math.random() * 2 ** 32) } = values
  const sampling = { maxTokens: values['max-tokens'], temperature, topK: values['top-k'], topP: values['top-p'], seed, stop, signal }
  // A model without a tokenizer says so itself, in generate.
  const input = model.hasTokenizer ? model.tokenizer.encode(prompt) : prompt
  const line = (value: object) => terminal.print(`${JSON.stringify(value)}\n`)

  if (echo && !json) await terminal.printText(prompt)
  const begin = performance.now()
  let first = begin
  let last = begin
  let tokens = 0
  try {
    for await (const { id, text: certain, logprob } of model.generate(input, sampling)) {
      last = performance.now()
      if (tokens++ === 0) first = last
      if (json) await line({ type: 'token', id, text: certain, logprob })
      else if (certain !== '') await terminal.printText(certain)
    }
  } catch (error) {
    if (!signal.aborted || error !== signal.reason) throw error
  }
  if (!json) await terminal.print('\n')

  const promptTokens = input.length
  // The prompt's time runs to the first token, which comes with it.
  const promptRate = tokens > 0 ? promptTokens / ((first - begin) / 1000) : null
  const rate = tokens > 1 ? (tokens - 1) / ((last - first) / 1000) : null
  const { info } = model.runtime
  if (json) {
    const rates = { promptTokensPerSecond: promptRate, tokensPerSecond: rate }
    await line({ type: 'end', interrupted: signal.aborted, promptTokens, tokens, ...rates, seed, runtime: info })
  } else {
    const read = `${formatCount(promptTokens)} prompt tokens${promptRate === null ? '' : ` at ${formatRate(promptRate)} tokens/s`}`
    const made = `${formatCount(tokens)} generated${rate === null ? '' : ` at ${formatRate(rate)} tokens/s`}`
    terminal.note(`${read}, ${made}; seed ${seed}; ${formatRuntime(info)}`)
  }
  signal.throwIfAborted()
}
