import { turnEventLoop } from '../../event-loop.js'
import type { Interrupt } from '../../interrupt.js'
import type { Mutex } from '../../mutex.js'
import type { Cursor } from '../../plan/chunk.js'
import type { DecodeCounts } from './decode-counts.js'
import type { DecodeDispatch, DecodeToken } from './decode-dispatch.js'

/** A token that one sequence is to read. */
export interface DecodeStep {
  readonly sequence: object
  /**
   * The token, and the state to read it into: a copy, if the token overwrites what is there.
   * @throws RoutedAttentionError `OUT_OF_MEMORY`
   */
  begin(): DecodeToken
}

/** A step that waits, and how it ended. */
class PendingStep {
  readonly step: DecodeStep
  readonly interrupt: Interrupt
  isDone = false
  #cursor: Cursor | undefined
  #error: unknown
  /** Called when it is done. */
  wake: (() => void) | undefined

  constructor(step: DecodeStep, interrupt: Interrupt) {
    this.step = step
    this.interrupt = interrupt
  }

  succeed(cursor: Cursor): void {
    this.isDone = true
    this.#cursor = cursor
    this.wake?.()
  }

  fail(error: unknown): void {
    this.isDone = true
    this.#error = error
    this.wake?.()
  }

  /** Fails if it has been interrupted; @returns whether it was */
  failIfInterrupted(): boolean {
    try {
      this.interrupt.check()
      return false
    } catch (reason) {
      this.fail(reason)
      return true
    }
  }

  /** @returns the cursor after the token; @throws what it failed with */
  get result(): Cursor {
    if (!this.#cursor) throw this.#error
    return this.#cursor
  }
}

/** Occurs once all of several interrupts have occurred. */
function everyInterrupt(interrupts: readonly Interrupt[]): Interrupt {
  const check = () => {
    let reason: unknown
    for (const interrupt of interrupts) {
      try {
        interrupt.check()
        return
      } catch (error) {
        reason = error
      }
    }
    throw reason
  }
  const listen = (listener: () => void) => {
    const onOne = () => {
      try {
        check()
      } catch {
        listener()
      }
    }
    const forgetters = interrupts.map((interrupt) => interrupt.listen(onOne))
    return () => {
      for (const forget of forgetters) forget()
    }
  }
  return { check, listen }
}

const SEVERAL = Symbol('several sequences')

/**
 * Continuous batching: tokens that sequences of one bucket are to read at the same time are read in one dispatch.
 * Tokens wait for a turn of the event loop, in which others may join them, and for the chunk that is being computed.
 * What each reads is the same, bit for bit, as alone: a row depends on no other.
 */
export class DecodeBatcher {
  readonly #decoding: DecodeDispatch
  readonly #mutex: Mutex
  readonly #isolatesCallers: boolean
  readonly #counts: DecodeCounts
  #waiting: PendingStep[] = []
  #isLooping = false
  #isActive = false
  /** Who read the last token; undefined before the first one. */
  #last: object | typeof SEVERAL | undefined

  /** @param isolatesCallers see `Device.isolatesCallers` */
  constructor(decoding: DecodeDispatch, mutex: Mutex, isolatesCallers: boolean, counts: DecodeCounts) {
    this.#decoding = decoding
    this.#mutex = mutex
    this.#isolatesCallers = isolatesCallers
    this.#counts = counts
  }

  /**
   * Whether a sequence is the only one being decoded, as far as can be told: its tokens then need not wait for others.
   */
  isAlone(sequence: object): boolean {
    return this.#waiting.length === 0 && (this.#last === undefined || this.#last === sequence)
  }

  /** Whether tokens have been read, or wait, since the last call. */
  takeActivity(): boolean {
    const isActive = this.#isActive || this.#waiting.length > 0
    this.#isActive = false
    return isActive
  }

  /** A sequence has read a token without waiting. */
  noteStep(sequence: object): void {
    this.#last = sequence
    this.#counts.add(1)
  }

  /**
   * Reads a token together with those of other sequences; the sequence takes over what it was read into.
   * @returns the cursor after it. When the promise settles, nothing uses the state any more, even after an error
   */
  async read(step: DecodeStep, interrupt: Interrupt): Promise<Cursor> {
    const pending = new PendingStep(step, interrupt)
    this.#waiting.push(pending)
    await (this.#isolatesCallers ? this.#driveUntilDone(pending) : this.#untilDone(pending))
    return pending.result
  }

  /** One loop reads for all callers, as long as there are any. */
  #untilDone(pending: PendingStep): Promise<void> {
    return new Promise((resolve) => {
      const forget = pending.interrupt.listen(() => {
        const index = this.#waiting.indexOf(pending)
        if (index < 0 || !pending.failIfInterrupted()) return
        this.#waiting.splice(index, 1)
      })
      pending.wake = () => {
        forget()
        resolve()
      }
      if (!this.#isLooping) void this.#loop()
    })
  }

  async #loop(): Promise<void> {
    this.#isLooping = true
    const turn = async () => {
      await turnEventLoop()
      return this.#readBatch()
    }
    // the turn of the event loop is taken with the mutex, so that no second chunk comes before
    while (this.#waiting.length > 0) await this.#mutex.runExclusive(turn, undefined, { urgent: true })
    this.#isLooping = false
  }

  /**
   * Each caller takes turns of its own, and whoever comes first reads for all that wait. Nobody awaits what another
   * resolves, and a caller that is gone holds up no other: its token is read by the next.
   */
  async #driveUntilDone(pending: PendingStep): Promise<void> {
    while (!pending.isDone) {
      await turnEventLoop()
      if (!pending.isDone && !this.#mutex.isLocked) await this.#mutex.runExclusive(async () => this.#readBatch())
    }
  }

  /** Reads one batch of what waits; synchronously, if the device does. Never throws: errors are the steps'. */
  #readBatch(): void | Promise<void> {
    const taken = this.#waiting.splice(0, this.#decoding.most)
    const begun: PendingStep[] = []
    const tokens: DecodeToken[] = []
    for (const pending of taken) {
      if (pending.failIfInterrupted()) continue
      try {
        tokens.push(pending.step.begin())
        begun.push(pending)
      } catch (error) {
        pending.fail(error)
      }
    }
    if (begun.length === 0) return
    this.#isActive = true
    this.#counts.add(begun.length)
    this.#last = begun.length === 1 ? begun[0]!.step.sequence : SEVERAL
    const succeed = () => begun.forEach((pending, index) => pending.succeed(this.#decoding.after(tokens[index]!, index)))
    const fail = (error: unknown) => {
      for (const pending of begun) if (!pending.failIfInterrupted()) pending.fail(error)
    }
    try {
      const running = this.#decoding.read(tokens, everyInterrupt(begun.map(({ interrupt }) => interrupt)))
      if (running) return running.then(succeed, fail)
      succeed()
    } catch (error) {
      fail(error)
    }
  }
}
