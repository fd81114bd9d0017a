import type { LoadProgress } from './read-options.js'

/** Counts the bytes of a model's files, reports them, and looks at the signal each time. */
export class LoadTracker {
  private done = 0
  private total = 0
  private readonly received = new Map<string, number>()
  private readonly expected = new Map<string, number>()

  constructor(
    private readonly onProgress: ((progress: LoadProgress) => void) | undefined,
    private readonly signal: AbortSignal | undefined,
  ) {}

  /** A file of about this many bytes is still to come, or is about to be read again from its start. */
  expect(file: string, bytes: number): void {
    this.done -= this.received.get(file) ?? 0
    this.received.set(file, 0)
    this.setExpected(file, bytes)
  }

  /** How many bytes a file that is being read will have. */
  announce(file: string, bytes: number): void {
    this.setExpected(file, bytes)
  }

  advance(file: string, bytes: number): void {
    const received = (this.received.get(file) ?? 0) + bytes
    this.received.set(file, received)
    this.done += bytes
    this.setExpected(file, Math.max(received, this.expected.get(file) ?? 0))
    this.report()
  }

  /** A file was read to its end: what was expected of it gives way to what it has. */
  finish(file: string): void {
    const received = this.received.get(file) ?? 0
    const isNews = received === 0 || received !== this.expected.get(file)
    this.setExpected(file, received)
    if (isNews) this.report()
  }

  /** @throws the signal's reason */
  checkSignal(): void {
    if (this.signal?.aborted) throw this.signal.reason
  }

  private report(): void {
    this.checkSignal()
    this.onProgress?.({ type: 'load', done: this.done, total: this.total })
    this.checkSignal()
  }

  private setExpected(file: string, bytes: number): void {
    this.total += bytes - (this.expected.get(file) ?? 0)
    this.expected.set(file, bytes)
  }
}
