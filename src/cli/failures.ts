/** A command line that does not say what to do: exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** Ctrl-C: exit code 130, as shells count signals. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted'
  constructor() {
    super('interrupted')
  }
}

/** What reads the standard output has gone: nothing more to do, nothing to tell. */
export class BrokenPipe extends Error {
  override readonly name = 'BrokenPipe'
}
