import { existsSync } from 'node:fs'
import { mkdir, readdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { quantizeModel, RoutedAttentionError } from '../index.js'
import { type Call, defineCommand } from './command.js'
import { UsageError } from './failures.js'
import { formatBytes } from './format.js'
import { loadingLine, runtimeOptions, sourceOf, sourceOptions } from './model-source.js'
import { choice, text } from './options.js'
import { printReport } from './quantization-report.js'
import { readText, type TextInput } from './text-input.js'

const options = {
  'activation-bits': choice(['7', '14'], 'Bits that activations are rounded to where kernels multiply integers. Default: 7.'),
  report: text(
    'TEXT',
    'Compare the model with its original on this UTF-8 text (- for standard input): bits per token and greedy choices, for 7 and 14 bits.',
  ),
  threads: runtimeOptions.threads,
  simd: runtimeOptions.simd,
  ...sourceOptions,
}

export const quantize = defineCommand({
  name: 'quantize',
  summary: 'Writes a model with int8 weights: a quarter of the size of float32.',
  operands: 'MODEL OUT',
  about: `
MODEL is a folder or a URL; OUT is a new or empty folder. Linear maps and the token embedding are rounded to int8, with a scale for each row; all else, routing tokens among it, stays as it is. The same model always gives the same files. The format is that of compressed-tensors ("int-quantized").
With --report, the original and the new model, with activations of 7 and of 14 bits, predict a text as eval does, one after the other;
their greedy choices are compared after each of its first 1,000 tokens. --threads, --simd and --bytes are for that.`,
  options,
  run,
})

async function run({ values, positionals, terminal }: Call<typeof options>): Promise<void> {
  const [place, out, ...more] = positionals
  if (place === undefined || place === '' || place === '-') throw new UsageError('no model was given: pass its folder or URL')
  if (out === undefined || out === '') throw new UsageError('no folder was given to write to')
  if (more.length > 0) throw new UsageError(`unexpected argument ${JSON.stringify(more[0])}`)
  const source = sourceOf(place)
  if ((await entriesOf(out)).length > 0) throw new UsageError(`${JSON.stringify(out)} is not empty: pass a new folder`)
  const { status, signal } = terminal
  const input = values.report === undefined ? undefined : await readReportText(values.report, signal)
  const files = await quantizeModel(source, {
    signal,
    cache: values.cache,
    activationBits: values['activation-bits'] === '14' ? 14 : 7,
    onProgress: loadingLine(place, status),
  }).finally(() => status.clear())
  try {
    await mkdir(out, { recursive: true })
    for (const [name, bytes] of files) await writeWhole(join(out, name), bytes, signal)
  } catch (cause) {
    signal.throwIfAborted()
    throw new RoutedAttentionError('BAD_FILE', `cannot write to ${out}: ${(cause as Error).message}`, { cause })
  }
  for (const [name, bytes] of files) await terminal.print(`${join(out, name)}  ${formatBytes(bytes.length)}\n`)
  if (input) {
    // a GPU does not round activations
    const runtimeValues = { ...values, revectorize: false, device: undefined }
    await printReport({ source, place, files, text: input.text }, runtimeValues, terminal)
  }
}

async function readReportText(file: string, signal: AbortSignal): Promise<TextInput> {
  if (file === '-' && process.stdin.isTTY) throw new UsageError('no text was given: name a file, or pipe text in')
  if (file !== '-' && !existsSync(file)) throw new UsageError(`--report: there is no file ${JSON.stringify(file)}`)
  return readText(file, signal)
}

/** The names in a folder; none if it does not exist. */
async function entriesOf(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw new UsageError(`${JSON.stringify(folder)} is not a folder that can be written to`, { cause: error })
  }
}

/** Writes under another name first, so that an unfinished file is never found. */
async function writeWhole(path: string, bytes: Uint8Array, signal: AbortSignal): Promise<void> {
  await writeFile(`${path}.part`, bytes, { signal })
  await rename(`${path}.part`, path)
}
