import type { LanguageModel, RuntimeInfo } from '../index.js'
import { type Call, defineCommand } from './command.js'
import { formatBytes, formatCount, formatRuntime, formatTable } from './format.js'
import { loadOptions, modelOperand, runtimeOptions, withModel, withRuntime } from './model-source.js'
import { UsageError } from './failures.js'
import { flag } from './options.js'

const options = {
  ...runtimeOptions,
  ...loadOptions,
  json: flag('Write one JSON object: model (numParameters, hasTokenizer, tokenizer, unavailable, sessionBytes, config, assumed), runtime.'),
}

export const info = defineCommand({
  name: 'info',
  summary: 'Describes a model, what it would run on here, and why not on more.',
  operands: '[MODEL]',
  about: `
MODEL is a folder, or the URL of one, with config.json and the weights; without MODEL only the machine is described.
For each feature that is not used (threads, relaxed SIMD, the GPU with --device auto, …) the reason is given.`,
  options,
  run,
})

async function run({ values, positionals, terminal }: Call<typeof options>): Promise<void> {
  const report = (runtime: RuntimeInfo, model?: ModelReport) =>
    terminal.print(
      values.json
        ? `${JSON.stringify({ ...(model && { model }), runtime })}\n`
        : formatTable([...modelRows(model), ...runtimeRows(runtime)]),
    )

  if (positionals.length === 0) return withRuntime(values, terminal, (runtime) => report(runtime.info))
  const { place, input } = modelOperand(positionals)
  if (input === '-') throw new UsageError('info reads nothing from standard input')
  return withModel(place, values, terminal, (model) => report(model.runtime.info, describeModel(model)))
}

type ModelReport = ReturnType<typeof describeModel>

function describeModel(model: LanguageModel) {
  const session = model.createSession()
  const { config, assumed, numParameters, hasTokenizer, unavailable } = model
  const tokenizer = !hasTokenizer ? 'none: token ids only' : readsBytes(model) ? 'bytes' : 'tokenizer.json'
  // Only the state of a causal model has a fixed size.
  const sessionBytes = config.layer.causal ? session.byteLength : null
  session.dispose()
  return { numParameters, hasTokenizer, tokenizer, unavailable, sessionBytes, config, assumed }
}

/** Whether ids are UTF-8 bytes, as requested by `--bytes` or config.json. */
function readsBytes({ tokenizer }: LanguageModel): boolean {
  return String(tokenizer.encode('Aé')) === '65,195,169'
}

function modelRows(model: ModelReport | undefined): [string, string][] {
  if (!model) return []
  const { layer, ...config } = model.config
  const { sessionBytes } = model
  return [
    ['parameters', formatCount(model.numParameters)],
    ['tokenizer', model.tokenizer],
    ...whyNot(model.unavailable),
    ['session', sessionBytes === null ? 'grows with its length' : `${formatBytes(sessionBytes)}, however long`],
    ...Object.entries({ ...config, ...layer }).map(([name, value]): [string, string] => [
      name,
      typeof value === 'object' ? JSON.stringify(value) : String(value),
    ]),
    ['assumed', formatAssumed(model.assumed)],
  ]
}

/** The keys missing from config.json. */
function formatAssumed(assumed: LanguageModel['assumed']): string {
  const entries = Object.entries(assumed).map(([key, value]) => `${key} ${value}`)
  return entries.length === 0 ? 'nothing: config.json is complete' : entries.join(', ')
}

function runtimeRows(runtime: RuntimeInfo): [string, string][] {
  const { memory, kernels, unavailable } = runtime
  return [
    ['runs on', formatRuntime(runtime)],
    [
      'kernels',
      Object.entries(kernels)
        .map(([name, shape]) => `${name} ${shape}`)
        .join(', '),
    ],
    ['memory', `${formatBytes(memory.used)} used of ${formatBytes(memory.reserved)}`],
    ...whyNot(unavailable),
  ]
}

function whyNot(unavailable: Readonly<Record<string, string>>): [string, string][] {
  return Object.entries(unavailable).map(([name, why]) => [`not ${name}`, why])
}
