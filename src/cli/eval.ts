import type { LanguageModel } from '../index.js'
import { type Call, defineCommand, type Terminal } from './command.js'
import { UsageError } from './failures.js'
import { formatCount, formatProgress, formatRate, formatRuntime, formatSeconds, formatTable } from './format.js'
import { loadOptions, modelOperand, runtimeOptions, withModel } from './model-source.js'
import { flag, integerFrom, number, text } from './options.js'
import { encodeText, readText, type TextInput } from './text-input.js'

const DEFAULT_CHUNK = 2048

const options = {
  file: text('FILE', 'The text, as an option.'),
  chunk: number(
    integerFrom(1),
    `Tokens per chunk; each chunk starts with an empty context. Default: ${DEFAULT_CHUNK}, or max_positions if that is smaller.`,
  ),
  ...runtimeOptions,
  ...loadOptions,
  json: flag('Write one JSON object: bitsPerToken, bitsPerByte, tokens, bytes, chunk, seconds, runtime.'),
}

export const evaluate = defineCommand({
  name: 'eval',
  summary: 'Measures how well a model predicts a text, in bits per token.',
  operands: 'MODEL [FILE|-]',
  about: `
MODEL is a folder, or the URL of one, with config.json, the weights and tokenizer.json; a byte model needs no tokenizer.json.
FILE is a UTF-8 text; without it, or with -, the text is read from standard input. It is encoded in pieces of 50,000 characters (Unicode
code points), counted from its start, so the same text always gives the same tokens; the published figures were computed in this way.
The tokens are cut into chunks that are evaluated independently, and every token but the text's first is predicted.
Bits per byte is the total number of bits divided by the number of bytes in the text.`,
  options,
  run,
})

async function run({ values, positionals, terminal }: Call<typeof options>): Promise<void> {
  const { place, input } = modelOperand(positionals, true)
  if (input !== undefined && values.file !== undefined && values.file !== input) {
    throw new UsageError(`give one text, not both ${JSON.stringify(input)} and --file ${JSON.stringify(values.file)}`)
  }
  if (input === '') throw new UsageError('the file has an empty name')
  const text = await readInput(input ?? values.file, terminal)
  await withModel(place, values, terminal, (model) => measure(model, text, values, terminal), 'prefill')
}

function readInput(file: string | undefined, { signal }: Terminal): Promise<TextInput> {
  if (file === undefined && process.stdin.isTTY) throw new UsageError('no text was given: name a file, or pipe text in')
  return readText(file ?? '-', signal)
}

async function measure(model: LanguageModel, input: TextInput, values: Call<typeof options>['values'], terminal: Terminal): Promise<void> {
  const { status, signal } = terminal
  const positions = model.config.maxPositions ?? Infinity
  const { chunk = Math.min(DEFAULT_CHUNK, positions) } = values
  if (chunk > positions) throw new UsageError(`--chunk is ${chunk}, more than the ${positions} positions of this model`)
  const ids = await encodeText(model, input.text, terminal)

  const begin = performance.now()
  const elapsed = () => (performance.now() - begin) / 1000
  status.show(() => 'evaluating')
  const { bitsPerToken, tokens } = await model
    .evaluate(ids, { chunk, signal, onProgress: ({ done, total }) => status.show(() => formatProgress(done, total, elapsed())) })
    .finally(() => status.clear())

  const seconds = elapsed()
  const bitsPerByte = (bitsPerToken * tokens) / input.byteLength
  const { info } = model.runtime
  if (values.json) {
    const result = { bitsPerToken, bitsPerByte, tokens, bytes: input.byteLength, chunk, seconds, runtime: info }
    return terminal.print(`${JSON.stringify(result)}\n`)
  }
  await terminal.print(
    formatTable([
      ['bits per token', bitsPerToken.toFixed(5)],
      ['bits per byte', bitsPerByte.toFixed(5)],
      ['tokens predicted', `${formatCount(tokens)}, in chunks of ${formatCount(chunk)}`],
      ['time', `${formatSeconds(seconds)}, ${formatRate(tokens / seconds)} tokens/s`],
      ['runs on', formatRuntime(info)],
    ]),
  )
}
