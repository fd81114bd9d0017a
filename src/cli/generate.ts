import type { LanguageModel } from '../index.js'
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
  prompt: anyText('TEXT', 'Text to continue. Without it, or with -, the prompt is read from the standard input.'),
  'no-special-tokens': flag('Read special tokens that are written out in the prompt as plain text.'),
  ...samplingOptions,
  echo: flag('Write the prompt before the text.'),
  ...runtimeOptions,
  ...loadOptions,
  'top-logprobs': number(integerFrom(0), 'With --json: tell this many of the most probable tokens beside each. Default: 0.'),
  json: flag(
    'Write JSON lines: {"type":"token","id","text","logprob","finishReason"} for each token, {"type":"end",…} with the summary last.',
  ),
}

export const generate = defineCommand({
  name: 'generate',
  summary: 'Continues a text.',
  operands: 'MODEL [-]',
  about: `
MODEL is a folder, or the URL of one, with config.json, the weights and tokenizer.json; a model of bytes needs none.
The text goes to the standard output as it is made, with a line feed after its end; a summary of the run goes to the standard error.
A prompt from the standard input is UTF-8; one line break at its end is left out.
Ctrl-C ends the text and still gives the summary, which says how much of the prompt was read, with exit code 130.
On a terminal the text has no control characters but line feeds and tabs, and no escape sequences; a pipe gets it as it is.`,
  options,
  run,
})

async function run({ values, positionals, terminal }: Call<typeof options>): Promise<void> {
  const { place, input } = modelOperand(positionals)
  const prompt = await readPrompt(values.prompt, input === '-', terminal)
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
  const { signal, status } = terminal
  const { json, echo, seed = Math.floor(Math.random() * 2 ** 32) } = values
  const sampling = { ...readSampling(values, model), seed, topLogprobs: values['top-logprobs'], signal }
  const line = (value: object) => terminal.print(`${JSON.stringify(value)}\n`)
  const meter = new GenerationMeter()
  let hasText = false
  const writeText = async (piece: string) => {
    if (piece === '') return
    hasText = true
    await terminal.printText(piece)
  }
  // Not before the prompt has been read: the status line shares the screen.
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
