import type { OptionTable, OptionValues } from './options.js'
import { describeOptions, parseOptions } from './options.js'
import type { StatusLine } from './status-line.js'

/** What a command may use of the process. */
export interface Terminal {
  /**
   * Writes lines to the standard output; on a terminal, with what is unprintable in them escaped.
   * @throws BrokenPipe when nobody reads it any more
   */
  print(lines: string): Promise<void>
  /**
   * Writes a piece of a model's text to the standard output; on a terminal, without control characters.
   * @throws BrokenPipe
   */
  printText(piece: string): Promise<void>
  /** Writes bytes to the standard output as they are. @throws BrokenPipe */
  write(bytes: Uint8Array): Promise<void>
  /** Whether the standard output is a terminal, so that what is printed is seen there. */
  readonly isScreen: boolean
  /** Writes one line to the standard error, with what is unprintable in it escaped. */
  note(line: string): void
  /** The changing line on the standard error, where that is a terminal. */
  readonly status: StatusLine
  /** Aborted, with an `Interrupted`, by Ctrl-C. */
  readonly signal: AbortSignal
}

export interface Call<Table extends OptionTable> {
  readonly values: OptionValues<Table>
  readonly positionals: readonly string[]
  readonly terminal: Terminal
}

/** A command as the program sees it. */
export interface Command {
  readonly summary: string
  readonly help: string
  run(args: readonly string[], terminal: Terminal): Promise<void>
}

interface Definition<Table extends OptionTable> {
  readonly name: string
  /** One line, for the program's help. */
  readonly summary: string
  /** What follows the command's name, options aside. */
  readonly operands: string
  /** What the options' help does not say. */
  readonly about: string
  readonly options: Table
  readonly run: (call: Call<Table>) => Promise<void>
}

export function defineCommand<Table extends OptionTable>(definition: Definition<Table>): Command {
  const { name, summary, operands, about, options, run } = definition
  return {
    summary,
    help: `Usage: routed-attention ${name} ${operands} [options]\n\n${summary}\n\n${about.trim()}\n\nOptions\n${describeOptions(options)}\n`,
    run: (args, terminal) => run({ ...parseOptions(args, options), terminal }),
  }
}
