import type { LoadProgress } from './read-options.js'

interface FileProgress {
  received: number
  /** Bytes that it will have, as far as is known; at least `received`. */
  expected: number
}

/**
 * Counts the bytes of a model's files, reports them, and looks at the signal each time. A total that was told is not
 * taken back: what was announced and never came counts as done in the end.
 */
export class LoadTracker {
  private done = 0
  /** Sum of `expected`. */
  private known = 0
  /** Bytes in all, at least, of files that are still to come too. */
  private least = 0
  private readonly files = new Map<string, FileProgress>()

  constructor(
    private readonly onProgress: ((progress: LoadProgress) => void) | undefined,
    private readonly signal: AbortSignal | undefined,
  ) {}

  /** At least so many bytes are still to come beside those of the files that were begun. */
  expectFurther(bytes: number): void {
    this.least = Math.max(this.least, this.known + bytes)
  }

  /** A file of about so many bytes is about to be read from its start, perhaps again. */
  begin(file: string, bytes: number): void {
    const progress = this.progressOf(file)
    this.done -= progress.received
    progress.received = 0
    this.expect(progress, bytes)
  }

  /** How many bytes a file that is being read will have. */
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
