#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { RoutedAttentionError } from '../index.js'
import type { Terminal } from './command.js'
import { BrokenPipe, Interrupted, UsageError } from './failures.js'
import { helpHint, runProgram } from './program.js'
import { StatusLine } from './status-line.js'
import { escapeUnprintable, TerminalFilter } from './terminal-text.js'

const interruption = new AbortController()
// Only once: a second Ctrl-C ends the process immediately.
process.once('SIGINT', () => interruption.abort(new Interrupted()))
// Write errors are delivered to `print`; these listeners keep them from being thrown as well.
process.stdout.on('error', () => {})
process.stderr.on('error', () => {})

const status = new StatusLine(process.stderr)
const filter = new TerminalFilter()
// A pipe gets everything unchanged.
const { isTTY } = process.stdout
const terminal: Terminal = {
  print: (lines) => send(isTTY ? escapeUnprintable(lines, '\n\t') : lines),
  printText: (piece) => send(isTTY ? filter.push(piece) : piece),
  write: send,
  isScreen: isTTY,
  note: (line) => void process.stderr.write(`${escapeUnprintable(line)}\n`),
  status,
  signal: interruption.signal,
}
const args = process.argv.slice(2)

try {
  await runProgram(args, version(), terminal)
} catch (error) {
  status.clear()
  process.exitCode = report(error)
}

function send(output: string | Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(output, (error) => {
      if (!error) resolve()
      else if ((error as NodeJS.ErrnoException).code === 'EPIPE') reject(new BrokenPipe())
      else reject(new RoutedAttentionError('BAD_FILE', `cannot write to standard output: ${error.message}`, { cause: error }))
    })
  })
}

/** The version of the package that contains dist/cli.js. */
function version(): string {
  const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
  return manifest.version
}

/** Reports what went wrong and returns the exit code. */
function report(error: unknown): number {
  if (error instanceof BrokenPipe) return 0
  if (error instanceof Interrupted) return 130
  if (error instanceof UsageError) {
    terminal.note(`routed-attention: ${error.message}`)
    terminal.note(helpHint(args))
    return 2
  }
  if (error instanceof RoutedAttentionError) terminal.note(`routed-attention: ${error.message} (${error.code})`)
  else reportDefect(error)
  return 1
}

/** Reports an unexpected error with its stack trace. */
function reportDefect(error: unknown): void {
  if (!(error instanceof Error)) return terminal.note(`routed-attention: ${String(error)}`)
  terminal.note(`routed-attention: ${String(error)}`)
  for (const line of error.stack?.match(/^ {4}at .*$/gm) ?? []) terminal.note(line)
}
