import { createReadStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { RoutedAttentionError } from '../index.js'
import { createTokenizer, type ModelTokenizer } from '../io/tokenizer.js'
import { type Call, defineCommand, type Terminal } from './command.js'
import { UsageError } from './failures.js'
import { formatBytes, formatCount } from './format.js'
import { flag } from './options.js'
import { readTextFile } from './text-input.js'

/** Ids from here on need more than 16 bits. */
const WIDE = 65_536

const options = {
  plain: flag('Treat special tokens written out in the text as plain text; otherwise they are recognised.'),
}

export const tokenize = defineCommand({
  name: 'tokenize',
  summary: 'Encodes texts as token ids for training, written to standard output.',
  operands: 'FOLDER TEXT…',
  about: `
FOLDER contains a tokenizer.json; nothing else of a model is needed. TEXT is a UTF-8 file, or - for standard input; several texts are
concatenated. Ids are written as little-endian 16-bit numbers, or 32-bit if the vocabulary has more than 65,536 tokens. Texts of any length are accepted.
Files that end in .jsonl hold lines {"prompt": "…", "completion": "…"}; they are written as the same lines with arrays of ids in place of the texts.`,
  options,
  run,
})

async function run({ values, positionals, terminal }: Call<typeof options>): Promise<void> {
  const [folder, ...texts] = positionals
  if (folder === undefined || folder === '') throw new UsageError('no folder was given: name one that contains a tokenizer.json')
  if (texts.length === 0) throw new UsageError('no text was given: name a file, or - for standard input')
  const pairs = texts.filter((path) => path.endsWith('.jsonl'))
  if (pairs.length > 0 && pairs.length < texts.length) throw new UsageError('texts and .jsonl files cannot be mixed')
  if (pairs.length === 0 && process.stdout.isTTY) throw new UsageError('ids are binary: redirect them to a file, for example with > ids')
  const tokenizer = await readTokenizer(folder)
  const encoding = { allowSpecial: !values.plain }
  for (const path of texts) {
    if (pairs.length > 0) await tokenizePairs(path, tokenizer, encoding, terminal)
    else await tokenizeText(path, tokenizer, encoding, terminal)
  }
}

interface Encoding {
  readonly allowSpecial: boolean
}

async function readTokenizer(folder: string): Promise<ModelTokenizer> {
  const path = `${folder}/tokenizer.json`
  let json: Uint8Array
  try {
    json = await readFile(path)
  } catch (cause) {
    throw new RoutedAttentionError('BAD_FILE', `cannot read ${path}: ${(cause as Error).message}`, { cause })
  }
  return createTokenizer(json)
}

async function tokenizeText(
  path: string,
  tokenizer: ModelTokenizer,
  encoding: Encoding,
  { status, signal, write }: Terminal,
): Promise<void> {
  const place = path === '-' ? 'the standard input' : path
  let read = 0
  let written = 0
  const progress = (bytes: number) => {
    read += bytes
    status.show(() => `${place}: ${formatBytes(read)}, ${formatCount(written)} tokens`)
  }
  try {
    for await (const ids of tokenizer.encodeStream(readText(path, place, signal, progress), encoding)) {
      written += ids.length
      await write(littleEndian(ids, tokenizer.size > WIDE))
      signal.throwIfAborted()
    }
  } finally {
    status.clear()
  }
}

/** A text as it arrives. @throws RoutedAttentionError `BAD_FILE` if it cannot be read or is not UTF-8 */
async function* readText(path: string, place: string, signal: AbortSignal, progress: (bytes: number) => void): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  try {
    for await (const chunk of path === '-' ? process.stdin : createReadStream(path, { signal })) {
      progress((chunk as Uint8Array).length)
      yield decoder.decode(chunk as Uint8Array, { stream: true })
    }
    yield decoder.decode()
  } catch (cause) {
    signal.throwIfAborted()
    if (cause instanceof RoutedAttentionError) throw cause
    const reason = cause instanceof TypeError ? 'it is not UTF-8 text' : cause instanceof Error ? cause.message : String(cause)
    throw new RoutedAttentionError('BAD_FILE', `cannot read ${place}: ${reason}`, { cause })
  }
}

function littleEndian(ids: Int32Array, isWide: boolean): Uint8Array {
  const width = isWide ? 4 : 2
  const view = new DataView(new ArrayBuffer(ids.length * width))
  ids.forEach((id, i) => (isWide ? view.setUint32(i * width, id, true) : view.setUint16(i * width, id, true)))
  return new Uint8Array(view.buffer)
}

async function tokenizePairs(path: string, tokenizer: ModelTokenizer, encoding: Encoding, terminal: Terminal): Promise<void> {
  const { text } = await readTextFile(path, terminal.signal)
  const lines = text.split('\n')
  for (const [index, line] of lines.entries()) {
    if (line.trim() === '') continue
    const { prompt, completion } = parsePair(line, `${path}, line ${index + 1}`)
    const ids = { prompt: tokenizer.encode(prompt, encoding), completion: tokenizer.encode(completion, encoding) }
    await terminal.print(`${JSON.stringify(ids)}\n`)
    terminal.signal.throwIfAborted()
  }
}

/** @throws RoutedAttentionError `BAD_FILE` */
function parsePair(line: string, where: string): { prompt: string; completion: string } {
  let pair: unknown
  try {
    pair = JSON.parse(line)
  } catch (cause) {
    throw new RoutedAttentionError('BAD_FILE', `${where} is not JSON`, { cause })
  }
  const { prompt, completion } = (pair ?? {}) as { prompt?: unknown; completion?: unknown }
  if (typeof prompt !== 'string' || typeof completion !== 'string')
    throw new RoutedAttentionError('BAD_FILE', `${where} must be {"prompt": "…", "completion": "…"}`)
  return { prompt, completion }
}
