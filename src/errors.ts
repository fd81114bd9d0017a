import { isError, typedArrayKind } from './realm.js'

/** Machine-readable error codes; every error thrown by this package has one. */
export type ErrorCode =
  /** Malformed bytes, a missing file, or a session of another model. */
  | 'BAD_FILE'
  /** Names, shapes or dtypes of parameters; a single error lists all of them. */
  | 'BAD_WEIGHTS'
  /** An invalid option, or an invalid value in config.json. */
  | 'BAD_CONFIG'
  /** A tensor argument of the wrong shape. */
  | 'BAD_SHAPE'
  /** Any other invalid argument. */
  | 'BAD_ARGUMENT'
  /**
   * A host that cannot be reached or is not ready (status 408, 429, 5xx), or a transfer that failed for good. Trying
   * again may help.
   */
  | 'NETWORK'
  /** Logits without a finite value: the weights or the input overflow. */
  | 'NUMERIC'
  /** Memory could not grow; the layer or model remains usable. */
  | 'OUT_OF_MEMORY'
  /** The object, or its runtime, was disposed of. */
  | 'DISPOSED'
  /** Not supported by this engine, build or model. */
  | 'UNSUPPORTED'
  /** A worker thread died or stopped responding. */
  | 'WORKER_FAILED'
  /** The GPU was lost. Sessions keep the state after their last completed append, and can be saved. */
  | 'DEVICE_LOST'

/** Optional properties of an error. */
export interface ErrorDetails {
  /** The underlying error. */
  cause?: unknown
  /** The host's HTTP status. */
  status?: number | undefined
  /** All names concerned. */
  names?: readonly string[] | undefined
}

/** The only error type of this package. The message names the operand, the expected value and the actual one. */
export class RoutedAttentionError extends Error {
  /** The same for all errors of this class, even across copies of the package, where `instanceof` fails. */
  override readonly name = 'RoutedAttentionError'
  /** Machine-readable error code. */
  readonly code: ErrorCode
  /** The HTTP status, for `NETWORK` errors that have one and for files that a host refuses. */
  declare readonly status?: number
  /**
   * All names concerned, even if the message lists only the first few: missing or unexpected parameters, unknown keys.
   */
  declare readonly names?: readonly string[]

  /** For internal use, and for testing code that catches these errors. */
  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, 'cause' in details ? { cause: details.cause } : undefined)
    this.code = code
    if (details.status !== undefined) this.status = details.status
    if (details.names !== undefined) this.names = details.names
  }
}

/** Short description of any value for an error message; never throws. */
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

/** The message of anything thrown, including its cause, where `fetch` puts the details. */
export function reasonOf(thrown: unknown): string {
  if (!isError(thrown)) return typeof thrown === 'string' ? thrown : describe(thrown)
  return isError(thrown.cause) ? `${thrown.message} (${thrown.cause.message})` : thrown.message
}
