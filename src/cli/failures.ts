/** An invalid command line: exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** Ctrl-C: exit code 130, by the shells' convention. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted'
  constructor() {
    super('interrupted')
  }
}

/** The reader of standard output is gone: there is nothing left to do or report. */
export class BrokenPipe extends Error {
  override readonly name = 'BrokenPipe'
}
