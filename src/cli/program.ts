import { bench } from './bench.js'
import type { Command, Terminal } from './command.js'
import { evaluate } from './eval.js'
import { UsageError } from './failures.js'
import { generate } from './generate.js'
import { info } from './info.js'
import { quantize } from './quantize.js'
import { serve } from './serve.js'
import { tokenize } from './tokenize.js'

const commands: Readonly<Record<string, Command>> = { generate, serve, eval: evaluate, info, bench, tokenize, quantize }

const help = `Usage: routed-attention COMMAND [options]

Runs language models made of routed attention (MixtureOfAutoregressiveAttention).

Commands
${Object.entries(commands)
  .map(([name, { summary }]) => `  ${name.padEnd(8)}  ${summary}`)
  .join('\n')}

Options
  --help     Print this help; after a command, all its options.
  --version  Print the version.

Exit codes: 0 success, 1 failure, 2 invalid command line, 130 ended by Ctrl-C.
`

/** @throws UsageError, or whatever a command throws */
export async function runProgram(args: readonly string[], version: string, terminal: Terminal): Promise<void> {
  const [name, ...rest] = args
  if (name === undefined) throw new UsageError('no command was given')
  if (name === '--help' || name === '-h') return terminal.print(help)
  if (name === '--version') return terminal.print(`${version}\n`)
  const command = Object.hasOwn(commands, name) ? commands[name]! : undefined
  if (!command) throw new UsageError(`unknown command ${JSON.stringify(name)}; available: ${Object.keys(commands).join(', ')}`)
  const end = rest.indexOf('--')
  const mayHoldHelp = end === -1 ? rest : rest.slice(0, end)
  if (mayHoldHelp.includes('--help') || mayHoldHelp.includes('-h')) return terminal.print(command.help)
  return command.run(rest, terminal)
}

/** How to get help; follows a complaint about these arguments. */
export function helpHint([name = '']: readonly string[]): string {
  return `Try: routed-attention ${Object.hasOwn(commands, name) ? `${name} ` : ''}--help`
}
