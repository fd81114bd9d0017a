import { type ErrorCode, RoutedAttentionError } from '../errors.js'
import { isError } from '../realm.js'

/** Codes of what only a server refuses. */
export type RefusalCode =
  /** 401: no key, or a wrong one. */
  | 'UNAUTHORIZED'
  /** 403: a page of an origin that is not listed. */
  | 'FORBIDDEN'
  /** 404: no such address, model or conversation. */
  | 'NOT_FOUND'
  /** 405: the address takes other methods. */
  | 'METHOD_NOT_ALLOWED'
  /** 408: the client sent or read nothing for too long. */
  | 'TIMEOUT'
  /** 409: it contradicts what was sent before, or what is under way. */
  | 'CONFLICT'
  /** 413: a body beyond the limit. */
  | 'TOO_LARGE'
  /** 415: a body that is not application/json. */
  | 'UNSUPPORTED_MEDIA_TYPE'
  /** 429: too many requests from this client. */
  | 'RATE_LIMITED'
  /** 499: the client has left; seen in the log only. */
  | 'CLIENT_LEFT'
  /** 503: the queue or the memory is full. */
  | 'OVERLOADED'
  /** 503: the server is shutting down. */
  | 'CLOSING'
  /** 500: a defect. */
  | 'INTERNAL'

/** The `code` of an error's body. */
export type HttpErrorCode = ErrorCode | RefusalCode

/** Details of an error's answer. */
export interface HttpErrorDetails {
  /** The field of the body that is at fault, such as 'stream_options.include_usage'. */
  readonly param?: string | undefined
  readonly headers?: Readonly<Record<string, string>> | undefined
}

/** An answer other than 200. Its message is sent to the client. */
export class HttpError extends Error {
  override readonly name = 'HttpError'
  readonly param: string | undefined
  readonly headers: Readonly<Record<string, string>>

  constructor(
    readonly status: number,
    readonly code: HttpErrorCode,
    message: string,
    { param, headers = {} }: HttpErrorDetails = {},
  ) {
    super(message)
    this.param = param
    this.headers = headers
  }
}

/** A body's field that cannot be used: status 400. */
export function badField(param: string, message: string): HttpError {
  return new HttpError(400, 'BAD_ARGUMENT', message, { param })
}

/** The server cannot take this request now: status 503. @param seconds after which another attempt makes sense */
export function overloaded(message: string, seconds: number): HttpError {
  return new HttpError(503, 'OVERLOADED', message, { headers: retryAfter(seconds) })
}

export function retryAfter(seconds: number): Record<string, string> {
  return { 'retry-after': String(Math.max(1, Math.ceil(seconds))) }
}

/** Faults of this process or machine that may be gone at the next attempt. */
const PASSING: readonly ErrorCode[] = ['OUT_OF_MEMORY', 'DISPOSED', 'DEVICE_LOST', 'WORKER_FAILED', 'NETWORK']
const CLIENTS: readonly ErrorCode[] = ['BAD_ARGUMENT', 'UNSUPPORTED']

/** What to answer to anything thrown. Of a defect the client learns no more than that it was one. */
export function toHttpError(thrown: unknown): HttpError {
  if (thrown instanceof HttpError) return thrown
  if (thrown instanceof RoutedAttentionError) {
    const { code, message } = thrown
    if (CLIENTS.includes(code)) return new HttpError(400, code, message)
    if (PASSING.includes(code)) return new HttpError(503, code, message, { headers: retryAfter(5) })
    return new HttpError(500, code, message)
  }
  return new HttpError(500, 'INTERNAL', 'the server failed')
}

/** The body of an error, in OpenAI's form. */
export interface ErrorBody {
  readonly error: { readonly message: string; readonly type: string; readonly param: string | null; readonly code: HttpErrorCode }
}

export function errorBody({ status, code, message, param }: HttpError): ErrorBody {
  return { error: { message, type: typeOf(status), param: param ?? null, code } }
}

/** OpenAI's names. */
function typeOf(status: number): string {
  switch (status) {
    case 401:
      return 'authentication_error'
    case 403:
      return 'permission_error'
    case 429:
      return 'rate_limit_error'
  }
  return status < 500 ? 'invalid_request_error' : 'server_error'
}

/**
 * Where a defect was, for the log: its name and the frames of its stack, but no message, which may hold a client's
 * text.
 */
export function describeDefect(thrown: unknown): string {
  if (!isError(thrown)) return `${typeof thrown} was thrown`
  const frames = thrown.stack?.match(/^ *(at |.*@).*$/gm) ?? []
  return [thrown.name, ...frames.map((frame) => frame.trim())].join('\n')
}
