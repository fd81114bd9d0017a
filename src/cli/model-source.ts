import { createRuntime, LanguageModel, type Runtime } from '../index.js'
import type { Terminal } from './command.js'
import { UsageError } from './failures.js'
import { formatBytes } from './format.js'
import { choice, flag, number, type Option, type OptionValues, text } from './options.js'

/** `createRuntime` takes as many. */
const MAX_THREADS = 1024
const threadCount = number(
  {
    expected: `an integer from 1 to ${MAX_THREADS}, or auto`,
    fits: (value) => Number.isSafeInteger(value) && value >= 1 && value <= MAX_THREADS,
  },
  '',
)
const threadsOption: Option<number | 'auto'> = {
  placeholder: 'N|auto',
  help: 'Threads to compute on. Default: auto.',
  read: (given, name) => (given.length === 0 || given.at(-1) === 'auto' ? 'auto' : threadCount.read(given, name)!),
}

/** What a model is run on; options of every command. */
export const runtimeOptions = {
  threads: threadsOption,
  simd: choice(
    ['auto', 'baseline', 'relaxed'],
    'Vector instructions. They decide the arithmetic, and with it the last bits. Default: auto.',
  ),
  revectorize: flag('Use 256-bit kernels where the engine can make them. Experimental.'),
  device: choice(
    ['wasm', 'webgpu', 'auto'],
    'Compute in WebAssembly, on a GPU (in Node with the package webgpu), or where the model runs faster. Default: wasm.',
  ),
}

/** Where a model comes from; options of the commands that load one. */
export const loadOptions = {
  bytes: flag('Token ids are the bytes of UTF-8 text, whatever tokenizer.json says.'),
  cache: text('FOLDER', 'Keep the files of a model from a URL in this folder, and take them from there the next time.'),
}

type RunValues = OptionValues<typeof runtimeOptions>

/** Runs `use` on a runtime, which ends with it. */
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
 * Runs `use` on a loaded model, which ends with it.
 * @param workload what it will mostly do, where devices are compared for it
 */
export async function withModel<T>(
  place: string,
  values: RunValues & OptionValues<typeof loadOptions>,
  terminal: Terminal,
  use: (model: LanguageModel) => Promise<T>,
  workload: 'decode' | 'prefill' = 'decode',
): Promise<T> {
  const source = sourceOf(place)
  return withRuntime(values, terminal, async (runtime) => {
    const { status, signal } = terminal
    const model = await LanguageModel.load(source, {
      runtime,
      signal,
      cache: values.cache,
      tokenizer: values.bytes ? 'bytes' : undefined,
      workload,
      onProgress: ({ done, total }) => status.show(() => `loading ${place}: ${formatBytes(done)} of ${formatBytes(total)}`),
    }).finally(() => status.clear())
    return use(model)
  })
}

/** @throws UsageError for what begins like a URL and is none */
function sourceOf(place: string): string | URL {
  if (!/^(file:|[a-z][a-z0-9+.-]+:\/\/)/i.test(place)) return place
  try {
    return new URL(place)
  } catch (cause) {
    throw new UsageError(`${JSON.stringify(place)} is neither a folder nor a URL`, { cause })
  }
}

/**
 * The model that a command was given, and what came behind it: `-` for the standard input, or a file where the command
 * `takesFile`.
 * @throws UsageError for no model, or for anything else
 */
export function modelOperand(positionals: readonly string[], takesFile = false): { place: string; input: string | undefined } {
  const [place, input, ...more] = positionals
  if (place === undefined || place === '' || place === '-')
    throw new UsageError("no model was given: name its folder or its URL, such as 'models/novels-10m'")
  const unexpected = input === undefined || input === '-' || takesFile ? more[0] : input
  if (unexpected !== undefined) throw new UsageError(`unexpected argument ${JSON.stringify(unexpected)}`)
  return { place, input }
}
