/** The command as a process of its own. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { seeded } from './seeded-process.js'

const command = fileURLToPath(new URL('../../dist/cli.js', import.meta.url))

export interface Ending {
  code: number | null
  stdout: string
  stderr: string
}

export function startCommand(...args: string[]): { child: ChildProcessWithoutNullStreams; ending: Promise<Ending> } {
  return follow(spawn(process.execPath, [...seeded, command, ...args]))
}

/** Runs the command to its end, with this on its standard input. */
export function runCommand(args: readonly string[], input: string | Uint8Array = ''): Promise<Ending> {
  const { child, ending } = startCommand(...args)
  child.stdin.end(input)
  return ending
}

/** Runs the command to its end, for a standard output that is no text. */
export async function runForBytes(args: readonly string[], input: string | Uint8Array = ''): Promise<Ending & { bytes: Buffer }> {
  const { child, ending } = startCommand(...args)
  const output: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => output.push(chunk))
  child.stdin.end(input)
  return { ...(await ending), bytes: Buffer.concat(output) }
}

/** As on a terminal: both outputs say that they are one. */
export function startOnTerminal(...args: string[]): ReturnType<typeof startCommand> {
  const pretence = 'data:text/javascript,process.stdout.isTTY=process.stderr.isTTY=true'
  return follow(spawn(process.execPath, [...seeded, '--import', pretence, command, ...args]))
}

function follow(child: ChildProcessWithoutNullStreams): ReturnType<typeof startCommand> {
  const ending = new Promise<Ending>((resolve) => {
    const output: Buffer[] = []
    let stderr = ''
    child.stdout.on('data', (chunk: Buffer) => output.push(chunk))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
    child.on('close', (code) => {
      resolve({ code, stdout: Buffer.concat(output).toString('utf8'), stderr })
    })
  })
  child.stdin.on('error', () => {})
  return { child, ending }
}
