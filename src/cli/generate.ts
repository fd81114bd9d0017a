import type { LanguageModel } from '../index.js'
import { drawSeed } from '../random.js'
import { type Call, defineCommand, type Terminal } from './command.js'
import { UsageError } from './failures.js'
import { formatCount, formatProgress } from './format.js'
import { GenerationMeter } from './generation-meter.js'
import { loadOptions, modelOperand, runtimeOptions, withModel } from './model-source.js'
import { anyText, flag, integerFrom, number } from './options.js'
import { encodePrompt } from './prompt-encoding.js'
import { readSampling, samplingOptions } from './sampling-options.js'
import { readStandardInput } from './text-input.js'

const options = {
  prompt: anyText('TEXT', 'Text to continue. Without it, or with -, the prompt is read from standard input.'),
  'no-special-tokens': flag('Treat special tokens written out in the prompt as plain text.'),
  ...samplingOptions,
  echo: flag('Write the prompt before the text.'),
  ...runtimeOptions,
  ...loadOptions,
  'top-logprobs': number(integerFrom(0), 'With --json: report this many of the most probable tokens with each token. Default: 0.'),
  json: flag(
    'Write JSON lines: {"type":"token","id","text","logprob","finishReason"} for each token, {"type":"end",…} with the summary last.',
  ),
}

export const generate = defineCommand({
  name: 'generate',
  summary: 'Continues a text.',
  operands: 'MODEL [-]',
  about: `
MODEL is a folder, or the URL of one, with config.json, the weights and tokenizer.json; a byte model needs no tokenizer.json.
The text is written to standard output as it is generated, followed by a line feed; a summary of the run is written to standard error.
A prompt from standard input is UTF-8; one trailing line break is dropped.
Ctrl-C ends the text with exit code 130 and still prints the summary, which says how much of the prompt was read.
On a terminal, escape sequences and control characters other than line feeds and tabs are removed; a pipe gets the text unchanged.`,
  options,
  run,
})

async function run({ values, positionals, terminal }: Call<typeof options>): Promise<void> {
  const { place, input } = modelOperand(positionals)
  const prompt = await readPrompt(values.prompt, input === '-', terminal)
  if (prompt === '') throw new UsageError('the prompt is empty; give text with --prompt, or pipe it in')
  await withModel(place, values, terminal, (model) => write(model, prompt, values, terminal))
}

async function readPrompt(given: string | undefined, isPiped: boolean, terminal: Terminal): Promise<string> {
  if (given !== undefined && given !== '-') {
    if (isPiped) throw new UsageError('give either --prompt TEXT or - for standard input, not both')
    return given
  }
  if (given === undefined && !isPiped && process.stdin.isTTY) {
    throw new UsageError('no prompt was given: use --prompt TEXT, pipe text in, or use - and type it')
  }
  return (await readStandardInput(terminal.signal)).text.replace(/\r?\n$/, '')
}

async function write(model: LanguageModel, prompt: string, values: Call<typeof options>['values'], terminal: Terminal): Promise<void> {
  const { signal, status } = terminal
  const { json, echo, seed = drawSeed() } = values
  const sampling = { ...readSampling(values, model), seed, topLogprobs: values['top-logprobs'], signal }
  const line = (value: object) => terminal.print(`${JSON.stringify(value)}\n`)
  const meter = new GenerationMeter()
  let hasText = false
  const writeText = async (piece: string) => {
    if (piece === '') return
    hasText = true
    await terminal.printText(piece)
  }
  // Only after the prompt has been read, since the status line shares the screen.
  const writeEcho = async () => {
    status.clear()
    if (echo && !json) await writeText(prompt)
  }

  try {
    const ids = await encodePrompt(model, prompt, !values['no-special-tokens'], terminal)
    meter.begin(ids.length)
    const begin = performance.now()
    const onProgress = ({ done, total }: { done: number; total: number }) => {
      meter.read(done)
      status.show(() => `reading the prompt: ${formatProgress(done, total, (performance.now() - begin) / 1000)}`)
    }
    for await (const token of model.generate(ids, { ...sampling, onProgress })) {
      if (meter.tokens === 0) await writeEcho()
      meter.count(token.finishReason)
      if (json) await line({ type: 'token', ...token })
      else await writeText(token.text)
      if (!terminal.isScreen) status.show(() => `${formatCount(meter.tokens)} tokens written`)
    }
    if (meter.tokens === 0) await writeEcho()
  } catch (error) {
    if (!signal.aborted || error !== signal.reason) throw error
  } finally {
    status.clear()
  }

  const { info } = model.runtime
  if (json) await line({ type: 'end', interrupted: signal.aborted, ...meter.toJSON(), seed, runtime: info })
  else {
    if (hasText || !signal.aborted) await terminal.print('\n')
    terminal.note(meter.summary(seed, info))
  }
  signal.throwIfAborted()
}
