import { isError, typedArrayKind } from './realm.js'

/** What went wrong, for programs: every error this package throws carries one of these. */
export type ErrorCode =
  /** Bytes that break their format, a missing file, a session of another model. */
  | 'BAD_FILE'
  /** Names, shapes or dtypes of parameters; one error lists all of them. */
  | 'BAD_WEIGHTS'
  /** An option, or a value in config.json. */
  | 'BAD_CONFIG'
  /** A tensor of a call. */
  | 'BAD_SHAPE'
  /** Any other argument of a call. */
  | 'BAD_ARGUMENT'
  /**
   * A host that cannot be reached or is not ready (status 408, 429, 5xx), or a transfer that broke off for good: trying
   * again may help.
   */
  | 'NETWORK'
  /** Logits without a finite value to choose a token by: the weights or the input overflow. */
  | 'NUMERIC'
  /** Memory that would not grow; the layer or model is still usable. */
  | 'OUT_OF_MEMORY'
  /** The object, or the runtime it lives on, was disposed. */
  | 'DISPOSED'
  /** This engine, build or model cannot do it. */
  | 'UNSUPPORTED'
  /** A worker thread died or could not answer. */
  | 'WORKER_FAILED'
  /** The GPU went away; sessions hold what their last finished append left, and can be saved. */
  | 'DEVICE_LOST'

/** What an error says besides its message. */
export interface ErrorDetails {
  /** What was thrown underneath. */
  cause?: unknown
  /** The host's HTTP status. */
  status?: number | undefined
  /** All names that are meant. */
  names?: readonly string[] | undefined
}

/** The one error type of this package. The message names the operand, what was expected and what came. */
export class RoutedAttentionError extends Error {
  /** As of every error of this class: what `instanceof` cannot tell across copies of the package. */
  override readonly name = 'RoutedAttentionError'
  /** What went wrong, for programs. */
  readonly code: ErrorCode
  /** The host's answer, of `NETWORK` where there was one, and of a file that a host refuses. */
  declare readonly status?: number
  /**
   * All names that are meant, where the message may list only the first of them: parameters missing or unexpected,
   * unknown keys.
   */
  declare readonly names?: readonly string[]

  /** For the package's own use, and for tests of what catches it. */
  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, 'cause' in details ? { cause: details.cause } : undefined)
    this.code = code
    if (details.status !== undefined) this.status = details.status
    if (details.names !== undefined) this.names = details.names
  }
}

/** How a value is named in an error message: short, and never throwing, whatever it is. */
export function describe(value: unknown): string {
  if (value === null) return 'null'
  switch (typeof value) {
    case 'string':
      return value.length > 60 ? `${JSON.stringify(value.slice(0, 60))}…` : JSON.stringify(value)
    case 'number':
    case 'boolean':
    case 'undefined':
      return String(value)
    case 'bigint':
      return `${value}n`
    case 'function':
      return 'a function'
    case 'symbol':
      return 'a symbol'
  }
  if (Array.isArray(value)) return `an array of length ${value.length}`
  if (ArrayBuffer.isView(value)) return `a ${typedArrayKind(value) ?? 'DataView'} of ${value.byteLength} bytes`
  const name = (Object.getPrototypeOf(value) as { constructor?: { name?: unknown } } | null)?.constructor?.name
  return typeof name === 'string' && name !== 'Object' ? `a ${name}` : 'an object'
}

/**
 * What was thrown, in words: the message of an error, with that of its cause, which is where `fetch` says what
 * happened.
 */
export function reasonOf(thrown: unknown): string {
  if (!isError(thrown)) return typeof thrown === 'string' ? thrown : describe(thrown)
  return isError(thrown.cause) ? `${thrown.message} (${thrown.cause.message})` : thrown.message
}
