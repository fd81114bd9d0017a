import { readFile } from 'node:fs/promises'
import { addAbortSignal } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { setImmediate } from 'node:timers/promises'
import { type LanguageModel, RoutedAttentionError } from '../index.js'
import type { Terminal } from './command.js'

/** Characters (Unicode code points) encoded at a time. The published figures of novels-10m count tokens in this way. */
const PIECE_CHARACTERS = 50_000

/** A text and its bytes. */
export interface TextInput {
  readonly text: string
  readonly byteLength: number
}

export async function readStandardInput(signal: AbortSignal): Promise<TextInput> {
  try {
    return decode(await buffer(addAbortSignal(signal, process.stdin)), 'the standard input')
  } catch (error) {
    signal.throwIfAborted()
    throw unreadable('the standard input', error)
  }
}

export async function readTextFile(path: string, signal: AbortSignal): Promise<TextInput> {
  try {
    return decode(await readFile(path, { signal }), path)
  } catch (error) {
    signal.throwIfAborted()
    throw unreadable(path, error)
  }
}

/** Reads a named text; the standard input for `-`. */
export function readText(file: string, signal: AbortSignal): Promise<TextInput> {
  return file === '-' ? readStandardInput(signal) : readTextFile(file, signal)
}

function decode(bytes: Uint8Array, what: string): TextInput {
  try {
    return { text: new TextDecoder('utf-8', { fatal: true }).decode(bytes), byteLength: bytes.length }
  } catch (cause) {
    throw new RoutedAttentionError('BAD_FILE', `${what} is not UTF-8 text`, { cause })
  }
}

function unreadable(what: string, error: unknown): RoutedAttentionError {
  if (error instanceof RoutedAttentionError) return error
  const reason = error instanceof Error ? error.message : String(error)
  return new RoutedAttentionError('BAD_FILE', `cannot read ${what}: ${reason}`, { cause: error })
}

/**
 * Token ids of a text of any length, encoded in pieces of 50,000 characters, so that they do not depend on how the text
 * arrived.
 * @param onPiece called with the fraction done, from 0 to 1
 */
export async function encodeInPieces(
  { tokenizer }: LanguageModel,
  text: string,
  signal: AbortSignal,
  onPiece: (share: number) => void,
): Promise<number[]> {
  const ids: number[] = []
  for (let start = 0; start < text.length;) {
    let end = start
    for (let count = 0; count < PIECE_CHARACTERS && end < text.length; count++) end += text.codePointAt(end)! > 0xffff ? 2 : 1
    for (const id of tokenizer.encode(text.slice(start, end))) ids.push(id)
    start = end
    onPiece(end / text.length)
    await setImmediate() // lets Ctrl-C through
    signal.throwIfAborted()
  }
  return ids
}

/**
 * Token ids of a text to be predicted, as `encodeInPieces` gives them.
 * @throws RoutedAttentionError `BAD_ARGUMENT` for fewer than two
 */
export async function encodeText(model: LanguageModel, text: string, { status, signal }: Terminal): Promise<number[]> {
  const ids = await encodeInPieces(model, text, signal, (share) => status.show(() => `encoding: ${Math.floor(100 * share)} %`))
  status.clear()
  if (ids.length < 2) {
    throw new RoutedAttentionError(
      'BAD_ARGUMENT',
      `the text has ${ids.length} token${ids.length === 1 ? '' : 's'}; at least 2 are needed to predict one`,
    )
  }
  return ids
}
