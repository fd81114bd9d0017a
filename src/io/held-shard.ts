import type { SourceReader, Read } from './source-reader.js'
import type { SafetensorsHeader } from './safetensors.js'
import type { MissingFile } from './sources/source.js'
import type { TensorSink } from './tensor-sink.js'

/** A shard that stays open after its header until the sink for its tensors is known. */
export class HeldShard {
  /** Settles when the header was taken; undefined then, or why there is none. */
  readonly header: Promise<MissingFile | undefined>
  private readonly whole: Promise<Read<void> | MissingFile>
  private open!: (sink: TensorSink) => void
  private giveUp!: (reason: Error) => void

  /** @param takeHeader as of `SourceReader.readShard` */
  constructor(
    files: SourceReader,
    readonly name: string,
    takeHeader: (header: SafetensorsHeader) => void | Promise<void>,
  ) {
    const sink = new Promise<TensorSink>((resolve, reject) => {
      this.open = resolve
      this.giveUp = reject
    })
    sink.catch(() => undefined)
    let arrived!: () => void
    const taken = new Promise<undefined>((resolve) => (arrived = () => resolve(undefined)))
    this.whole = files.readShard(name, async (header) => {
      await takeHeader(header)
      arrived()
      return sink
    })
    this.whole.catch(() => undefined)
    this.header = Promise.race([taken, this.whole as Promise<MissingFile>])
  }

  /** Reads the tensors. */
  read(sink: TensorSink): Promise<Read<void> | MissingFile> {
    this.open(sink)
    return this.whole
  }

  /** Closes the file, unless it was read. */
  async close(): Promise<void> {
    this.giveUp(new Error('the load has ended')) // no error of the file: a cached copy is kept
    await this.whole.catch(() => undefined)
  }
}
