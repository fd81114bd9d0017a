import type { LoadProgress } from './read-options.js'

interface FileProgress {
  received: number
  /** Bytes expected, as far as is known; at least `received`. */
  expected: number
}

/**
 * Counts the bytes of a model's files, reports progress and checks the signal on each report. A reported total never
 * shrinks: bytes announced that never arrive count as done in the end.
 */
export class LoadTracker {
  private done = 0
  /** Sum of `expected`. */
  private known = 0
  /** Lower bound of the total, including files not yet begun. */
  private least = 0
  private readonly files = new Map<string, FileProgress>()

  constructor(
    private readonly onProgress: ((progress: LoadProgress) => void) | undefined,
    private readonly signal: AbortSignal | undefined,
  ) {}

  /** At least this many bytes are still to come, besides those of files already begun. */
  expectFurther(bytes: number): void {
    this.least = Math.max(this.least, this.known + bytes)
  }

  /** A file of about this many bytes is about to be read from its start, perhaps again. */
  begin(file: string, bytes: number): void {
    const progress = this.progressOf(file)
    this.done -= progress.received
    progress.received = 0
    this.expect(progress, bytes)
  }

  /** Sets the size of a file that is being read. */
  announce(file: string, bytes: number): void {
    this.expect(this.progressOf(file), bytes)
  }

  advance(file: string, bytes: number): void {
    this.count(this.progressOf(file), bytes)
    this.report()
  }

  /** A file was read to its end. */
  finish(file: string): void {
    const progress = this.progressOf(file)
    const isNews = progress.received === 0 || progress.received < progress.expected
    this.count(progress, progress.expected - progress.received)
    if (isNews) this.report()
  }

  /** All files were read. */
  complete(): void {
    const total = Math.max(this.known, this.least)
    if (this.done === total) return
    this.done = total
    this.report()
  }

  /** @throws the signal's reason */
  checkSignal(): void {
    if (this.signal?.aborted) throw this.signal.reason
  }

  private progressOf(file: string): FileProgress {
    let progress = this.files.get(file)
    if (progress === undefined) this.files.set(file, (progress = { received: 0, expected: 0 }))
    return progress
  }

  private expect(progress: FileProgress, bytes: number): void {
    this.known += Math.max(0, bytes - progress.expected)
    progress.expected = Math.max(progress.expected, bytes)
  }

  private count(progress: FileProgress, bytes: number): void {
    progress.received += bytes
    this.done += bytes
    this.expect(progress, progress.received)
  }

  private report(): void {
    this.checkSignal()
    this.onProgress?.({ type: 'load', done: this.done, total: Math.max(this.known, this.least) })
    this.checkSignal()
  }
}
