import type { OptionTable, OptionValues } from './options.js'
import { describeOptions, parseOptions } from './options.js'
import type { StatusLine } from './status-line.js'

/** The parts of the process that a command may use. */
export interface Terminal {
  /**
   * Writes lines to standard output; on a terminal, with unprintable characters escaped.
   * @throws BrokenPipe if the reader is gone
   */
  print(lines: string): Promise<void>
  /**
   * Writes part of a model's text to standard output; on a terminal, without control characters.
   * @throws BrokenPipe
   */
  printText(piece: string): Promise<void>
  /** Writes bytes to standard output unchanged. @throws BrokenPipe */
  write(bytes: Uint8Array): Promise<void>
  /** Whether standard output is a terminal, where it shares the screen with standard error. */
  readonly isScreen: boolean
  /** Writes one line to standard error, with unprintable characters escaped. */
  note(line: string): void
  /** The updating line on standard error, if that is a terminal. */
  readonly status: StatusLine
  /** Aborted, with an `Interrupted`, by Ctrl-C. */
  readonly signal: AbortSignal
}

export interface Call<Table extends OptionTable> {
  readonly values: OptionValues<Table>
  readonly positionals: readonly string[]
  readonly terminal: Terminal
}

/** A command of the program. */
export interface Command {
  readonly summary: string
  readonly help: string
  run(args: readonly string[], terminal: Terminal): Promise<void>
}

interface Definition<Table extends OptionTable> {
  readonly name: string
  /** One line for the program's help. */
  readonly summary: string
  /** The operands after the command's name. */
  readonly operands: string
  /** What the list of options does not explain. */
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
