import type { ContenderPlan, Versions } from './contenders.js'
import { WorkerRunner } from './worker-runner.js'

type OnCall = (name: string, method: string, args: readonly unknown[]) => void

/**
 * One of the compared programs while it runs. Whatever fails, fails for it alone: `problem` says why, and the other
 * calls of it give NaN.
 */
export class Contender {
  readonly name: string
  /** As `runSweep` wants it: the longest prompt that it is given. */
  readonly last = Infinity
  readonly runner = { call: (method: string, ...args: unknown[]): Promise<unknown> => this.#call(method, args) }
  readonly against: string | undefined
  problem = ''
  readonly #plan: ContenderPlan
  readonly #signal: AbortSignal
  readonly #onCall: OnCall
  #worker: WorkerRunner | undefined

  /** @param onCall told of each call before it, whether it still runs or not */
  constructor(plan: ContenderPlan, signal: AbortSignal, onCall: OnCall) {
    this.name = plan.name
    this.against = plan.against
    this.#plan = plan
    this.#signal = signal
    this.#onCall = onCall
    signal.addEventListener('abort', () => this.close())
  }

  async open(versions: Versions, install: string): Promise<void> {
    const { package: needed, args, script } = this.#plan
    if (needed && versions[needed] === null) {
      this.problem = `not installed: ${install}`
      return
    }
    this.#worker = new WorkerRunner(script)
    const info = (await this.#call('open', [args])) as { threads: number; unavailable?: { threads?: string } } | number
    if (typeof info === 'object' && info.threads !== args.threads)
      this.fail(`it has ${info.threads} of ${String(args.threads)} threads${reasonOf(info.unavailable?.threads)}`)
  }

  fail(problem: string): void {
    this.problem ||= problem
    this.close()
  }

  close(): void {
    this.#worker?.close()
  }

  async #call(method: string, args: readonly unknown[]): Promise<unknown> {
    this.#signal.throwIfAborted()
    this.#onCall(this.name, method, args)
    if (this.problem !== '' || !this.#worker) return NaN
    try {
      return await this.#worker.call(method, ...args)
    } catch (error) {
      this.#signal.throwIfAborted()
      this.fail((error as Error).message.split('\n')[0]!)
      return NaN
    }
  }
}

function reasonOf(reason: string | undefined): string {
  return reason ? ` (${reason})` : ''
}
