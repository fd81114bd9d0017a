import { describe, type ErrorCode, RoutedAttentionError } from './errors.js'
import { isSignal } from './realm.js'

/**
 * Checks the options of a call: they must be an object with known options only, `signal` a signal, and callbacks
 * functions.
 * @param call name of the call, for messages
 * @param known names of all options of this call
 * @param code error code for unknown options and wrong types: `BAD_CONFIG` for a runtime or a layer
 * @throws RoutedAttentionError `code` for an unknown option, suggesting the nearest known one; `BAD_ARGUMENT` if
 * `options` is not an object
 */
export function checkOptions(call: string, options: unknown, known: readonly string[], code: ErrorCode = 'BAD_ARGUMENT'): void {
  if (typeof options !== 'object' || options === null)
    throw new RoutedAttentionError('BAD_ARGUMENT', `${call}: options must be an object, got ${describe(options)}`)
  const unknown = Object.keys(options).filter((name) => !known.includes(name))
  if (unknown.length > 0) {
    const listed = unknown.slice(0, MAX_LISTED).map((name) => `${describe(name)}${suggestion(name, known)}`)
    if (unknown.length > listed.length) listed.push(`${unknown.length - listed.length} more`)
    const taken = known.length > MAX_SUGGESTED ? '' : `; it takes ${known.join(', ')}`
    throw new RoutedAttentionError(code, `${call} knows no option ${listed.join(', ')}${taken}`, { names: unknown })
  }
  const { signal, onProgress } = options as { signal?: unknown; onProgress?: unknown }
  checkSignal(call, signal, code)
  checkFunction(call, 'onProgress', onProgress, code)
}

/**
 * The names of a call's options, for `checkOptions`. A list that lacks one of the interface's members, or has another,
 * does not compile.
 */
export function namesOf<Options extends object>(names: Readonly<Record<keyof Options, true>>): readonly string[] {
  return Object.keys(names)
}

/** @throws RoutedAttentionError `code` unless it is undefined or a signal */
export function checkSignal(call: string, signal: unknown, code: ErrorCode = 'BAD_ARGUMENT'): void {
  if (signal !== undefined && !isSignal(signal))
    throw new RoutedAttentionError(code, `${call}: signal must be an AbortSignal, got ${describe(signal)}`)
}

/** @throws RoutedAttentionError `code` unless it is undefined or a function */
export function checkFunction(call: string, name: string, value: unknown, code: ErrorCode = 'BAD_ARGUMENT'): void {
  if (value !== undefined && typeof value !== 'function')
    throw new RoutedAttentionError(code, `${call}: ${name} must be a function, got ${describe(value)}`)
}

/** Unknown options listed by name; further ones are only counted. */
const MAX_LISTED = 20
/** Up to this many known options are listed; with more, only the nearest is suggested. */
const MAX_SUGGESTED = 12

/** Suggests the nearest known option, unless more than half of its letters differ. */
function suggestion(name: string, known: readonly string[]): string {
  const nearest = nearestName(name, known)
  return nearest === undefined || nearest.distance > nearest.length / 2 ? '' : ` (did you mean '${nearest.name}'?)`
}

/**
 * The known name nearest to another, ignoring case and underscores, with the number of letters that differ.
 * @returns `length` is that of the unknown name; undefined if no names are known
 */
export function nearestName(name: string, known: readonly string[]): { name: string; distance: number; length: number } | undefined {
  const plain = bare(name.slice(0, 60))
  let best: { name: string; distance: number; length: number } | undefined
  for (const candidate of known) {
    const distance = editDistance(plain, bare(candidate))
    if (best === undefined || distance < best.distance) best = { name: candidate, distance, length: plain.length }
  }
  return best
}

function bare(name: string): string {
  return name.replaceAll('_', '').toLowerCase()
}

/** Levenshtein distance. */
function editDistance(from: string, to: string): number {
  let previous = Array.from({ length: to.length + 1 }, (_, column) => column)
  for (let row = 1; row <= from.length; row++) {
    const current = [row]
    for (let column = 1; column <= to.length; column++) {
      const replaced = previous[column - 1]! + (from[row - 1] === to[column - 1] ? 0 : 1)
      current.push(Math.min(replaced, previous[column]! + 1, current[column - 1]! + 1))
    }
    previous = current
  }
  return previous[to.length]!
}
