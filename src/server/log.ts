/** What `log` is told of a request when it has ended. It holds no ids, texts or addresses. */
export interface LogEntry {
  /** The request's method. */
  readonly method: string
  /** The route's pattern, such as '/v1/completions'; '' if there was none. */
  readonly route: string
  /** Status of the answer; 499 if the client left before its end. */
  readonly status: number
  /** Why the request failed, even if it did so after the answer had begun: the code that the client was told. */
  readonly code?: string
  /** Milliseconds from the request to the end of its answer. */
  readonly milliseconds: number
  /** Milliseconds of them that it waited for others. */
  readonly queuedMilliseconds: number
  /** Tokens of its prompts. */
  readonly promptTokens: number
  /** Tokens of its prompts that had been read before. */
  readonly cachedTokens: number
  /** Tokens generated. */
  readonly completionTokens: number
  /** Where a defect was (status 500): the error's name and its stack. */
  readonly defect?: string
}

/** What a route reports of its work, for the log and the metrics. */
export interface Usage {
  queuedMilliseconds: number
  promptTokens: number
  cachedTokens: number
  completionTokens: number
}
