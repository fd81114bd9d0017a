import { Verifier } from './integrity.js'
import type { LoadTracker } from './progress.js'

/** One pass over a file from its start: counts the bytes received, and hashes them if a digest is expected. */
export class TrackedRead {
  private readonly verifier: Verifier | undefined

  constructor(
    private readonly name: string,
    sizeHint: number | undefined,
    digest: string | undefined,
    private readonly tracker: LoadTracker,
  ) {
    this.verifier = digest === undefined ? undefined : new Verifier(name, digest)
    tracker.begin(name, sizeHint ?? 0)
  }

  /** Announces the total size, once it is known. */
  announce(bytes: number): void {
    this.tracker.announce(this.name, bytes)
  }

  readonly received = (bytes: Uint8Array): void => {
    this.verifier?.update(bytes)
    this.tracker.advance(this.name, bytes.length)
  }

  /** @throws RoutedAttentionError `BAD_FILE` if the bytes received have another digest */
  verify(): void {
    this.verifier?.finish()
  }

  finish(): void {
    this.tracker.finish(this.name)
  }
}
