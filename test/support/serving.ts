/** `routed-attention serve` as a process of its own. */
import { fileURLToPath } from 'node:url'
import { type Ending, startCommand } from './command.js'
import { novels2Int8Folder } from './models.js'

export interface Serving {
  /** Address of the server, without a path. */
  readonly origin: string
  /** The lines that it has written to standard error. */
  readonly log: string[]
  readonly pid: number
  /** Resolves once a line of the log, from the `from`-th on, matches. */
  logged(pattern: RegExp, from?: number): Promise<string>
  /** Ends it with a signal; as a rule it shuts down. */
  end(signal?: NodeJS.Signals): Promise<Ending>
}

export const servedModel = fileURLToPath(novels2Int8Folder).replace(/[/\\]$/, '')

/** Starts a server on a free port. @param args options of `serve` */
export async function startServing(...args: string[]): Promise<Serving> {
  const { child, ending } = startCommand('serve', servedModel, '--port', '0', '--threads', '1', ...args)
  const log: string[] = []
  const listeners = new Set<() => void>()
  let rest = ''
  child.stderr.on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop()!
    log.push(...lines)
    for (const listener of [...listeners]) listener()
  })
  const origin = await new Promise<string>((resolve, reject) => {
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString()
      const [, address] = / at (http:\/\/\S+)\/v1 /.exec(output) ?? []
      if (address) resolve(address)
    })
    void ending.then(({ stderr }) => reject(new Error(`the server did not start: ${stderr}`)))
  })
  return {
    origin,
    log,
    pid: child.pid!,
    logged: (pattern, from = 0) =>
      new Promise((resolve) => {
        const look = () => {
          const line = log.slice(from).find((line) => pattern.test(line))
          if (line === undefined) return
          listeners.delete(look)
          resolve(line)
        }
        listeners.add(look)
        look()
      }),
    end: (signal = 'SIGTERM') => {
      child.kill(signal)
      return ending
    },
  }
}
