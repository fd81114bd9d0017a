import type * as V8 from 'node:v8'
import { builtinModule } from '../../builtin-module.js'

/** The V8 flag that combines neighbouring 128-bit operations into 256-bit ones. */
const FLAG = '--experimental-wasm-revectorize'
/** First Node version whose V8 supports it (docs/measurements/zen3.md#256-bit). */
const FIRST_NODE = 24

/**
 * Makes this process's engine compile modules to 256-bit operations from now on.
 * @returns why that is not possible; undefined on success
 */
export function turnOnRevectorization(): string | undefined {
  const { process } = globalThis as { process?: NodeJS.Process }
  const version = process?.versions?.node
  if (version === undefined || 'Deno' in globalThis || 'Bun' in globalThis) {
    return 'only Node lets a program enable 256-bit kernels'
  }
  if (Number.parseInt(version) < FIRST_NODE) return `Node ${version} does not support 256-bit kernels; use Node ${FIRST_NODE} or newer`
  builtinModule<typeof V8>('node:v8')!.setFlagsFromString(FLAG)
  return undefined
}

/** An empty custom section, which engines ignore: id 0, two bytes, a one-character name "r". */
const MARK = [0, 2, 1, 0x72]

/** The same module as different bytes: for equal bytes V8 reuses existing code, perhaps compiled without the flag. */
export function markRevectorized(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const marked = new Uint8Array(bytes.length + MARK.length)
  marked.set(bytes)
  marked.set(MARK, bytes.length)
  return marked
}
