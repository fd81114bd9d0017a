import { createRuntime, LanguageModel, type LoadProgress, type ModelSource, type Runtime, type Workload } from '../index.js'
import type { Terminal } from './command.js'
import { UsageError } from './failures.js'
import { formatBytes } from './format.js'
import type { StatusLine } from './status-line.js'
import { choice, flag, number, type CommandOption, type OptionValues, text } from './options.js'

/** The limit of `createRuntime`. */
const MAX_THREADS = 1024
const threadCount = number(
  {
    expected: `an integer from 1 to ${MAX_THREADS}, or auto`,
    fits: (value) => Number.isSafeInteger(value) && value >= 1 && value <= MAX_THREADS,
  },
  '',
)
const threadsOption: CommandOption<number | 'auto'> = {
  placeholder: 'N|auto',
  help: 'Number of threads. Default: auto.',
  read: (given, name) => (given.length === 0 || given.at(-1) === 'auto' ? 'auto' : threadCount.read(given, name)!),
}

/** What to run on; options of every command. */
export const runtimeOptions = {
  threads: threadsOption,
  simd: choice(['auto', 'baseline', 'relaxed'], 'SIMD instruction set; affects the last bits of results. Default: auto.'),
  revectorize: flag('Use 256-bit kernels if the engine can generate them. Experimental.'),
  device: choice(
    ['wasm', 'webgpu', 'auto'],
    'Compute in WebAssembly, on a GPU (in Node with the webgpu package), or on whichever is faster. Default: wasm.',
  ),
}

/** Where a model comes from. */
export const sourceOptions = {
  bytes: flag('Use UTF-8 bytes as token ids, ignoring tokenizer.json.'),
  cache: text('FOLDER', 'Cache the files of a model from a URL in this folder.'),
}

/** Options of the commands that load a model to use it. */
export const loadOptions = {
  ...sourceOptions,
  quantize: choice(['int8'], 'Round float weights to int8 while loading: a quarter of the memory of float32, and faster.'),
}

export type RunValues = OptionValues<typeof runtimeOptions>
export type LoadValues = OptionValues<typeof sourceOptions> & Partial<OptionValues<typeof loadOptions>>

/** Runs `use` on a runtime that is disposed of afterwards. */
export async function withRuntime<T>(values: RunValues, terminal: Terminal, use: (runtime: Runtime) => Promise<T>): Promise<T> {
  const { threads, simd = 'auto', revectorize, device = 'wasm' } = values
  const runtime = await createRuntime({ threads, simd, revectorize, device, signal: terminal.signal })
  try {
    return await use(runtime)
  } finally {
    await runtime.dispose()
  }
}

/**
 * Runs `use` on a loaded model that is disposed of afterwards.
 * @param workload the main workload, for comparing devices
 */
export async function withModel<T>(
  place: string,
  values: RunValues & LoadValues,
  terminal: Terminal,
  use: (model: LanguageModel) => Promise<T>,
  workload: Workload = 'decode',
): Promise<T> {
  const source = sourceOf(place)
  return withRuntime(values, terminal, async (runtime) => use(await loadModel(source, place, runtime, values, terminal, workload)))
}

/** @param name of the model, for the status line */
export async function loadModel(
  source: ModelSource,
  name: string,
  runtime: Runtime,
  { cache, bytes, quantize }: LoadValues,
  { status, signal }: Terminal,
  workload: Workload,
): Promise<LanguageModel> {
  return LanguageModel.load(source, {
    runtime,
    signal,
    cache,
    tokenizer: bytes ? 'bytes' : undefined,
    quantize,
    workload,
    onProgress: loadingLine(name, status),
  }).finally(() => status.clear())
}

/** Shows the progress of a load. */
export function loadingLine(place: string, status: StatusLine): (progress: LoadProgress) => void {
  return ({ done, total }) => status.show(() => `loading ${place}: ${formatBytes(done)} of ${formatBytes(total)}`)
}

/** @throws UsageError for a malformed URL */
export function sourceOf(place: string): string | URL {
  if (!/^(file:|[a-z][a-z0-9+.-]+:\/\/)/i.test(place)) return place
  try {
    return new URL(place)
  } catch (cause) {
    throw new UsageError(`${JSON.stringify(place)} is neither a folder nor a URL`, { cause })
  }
}

/**
 * The model operand, and what follows it: `-` for standard input, or a file if the command `takesFile`.
 * @throws UsageError if there is no model, or anything else
 */
export function modelOperand(positionals: readonly string[], takesFile = false): { place: string; input: string | undefined } {
  const [place, input, ...more] = positionals
  if (place === undefined || place === '' || place === '-')
    throw new UsageError("no model was given: pass its folder or URL, such as 'models/novels-10m'")
  const unexpected = input === undefined || input === '-' || takesFile ? more[0] : input
  if (unexpected !== undefined) throw new UsageError(`unexpected argument ${JSON.stringify(unexpected)}`)
  return { place, input }
}
