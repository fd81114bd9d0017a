import type * as V8 from 'node:v8'
import { builtinModule } from '../../builtin-module.js'

/** What V8 is told, where the host can: to join neighbouring 128-bit operations to 256-bit ones. */
const FLAG = '--experimental-wasm-revectorize'
/** The first Node whose V8 does it (docs/measurements/zen3.md#256-bit). */
const FIRST_NODE = 24

/**
 * Has this process's engine compile modules to 256-bit operations from now on.
 * @returns why it cannot be told to, or undefined when it was
 */
export function turnOnRevectorization(): string | undefined {
  const { process } = globalThis as { process?: NodeJS.Process }
  const version = process?.versions?.node
  if (version === undefined || 'Deno' in globalThis || 'Bun' in globalThis) {
    return 'only Node lets a program tell its engine to make 256-bit kernels'
  }
  if (Number.parseInt(version) < FIRST_NODE) return `Node ${version} makes no 256-bit kernels; use Node ${FIRST_NODE} or newer`
  builtinModule<typeof V8>('node:v8')!.setFlagsFromString(FLAG)
  return undefined
}

/** A custom section that engines ignore, named "r": id 0, two bytes, a name of one. */
const MARK = [0, 2, 1, 0x72]

/**
 * The same module as other bytes: V8 hands out the code that it already has for equal bytes, compiled without the flag
 * perhaps.
 */
export function markRevectorized(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const marked = new Uint8Array(bytes.length + MARK.length)
  marked.set(bytes)
  marked.set(MARK, bytes.length)
  return marked
}
