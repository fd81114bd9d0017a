import { type ErrorCode, RoutedAttentionError } from '../errors.js'
import { TrackedRead } from './arrival.js'
import { MAX_JSON_BYTES } from './json.js'
import { movedAway } from './moved-bytes.js'
import type { LoadTracker } from './progress.js'
import {
  LENGTH_BYTES,
  locateTensors,
  parseSafetensorsHeader,
  type SafetensorsHeader,
  safetensorsHeaderLength,
  type StoredTensor,
} from './safetensors.js'
import {
  FileRestarted,
  isMissing,
  type MissingFile,
  type OpenFile,
  type OpenOptions,
  type Received,
  type Source,
} from './sources/source.js'

export interface Read<T> {
  readonly value: T
}

/** Errors that a cached copy may cause if it is damaged or truncated, or belongs to another version of the model. */
const BROKEN_COPY: readonly ErrorCode[] = ['BAD_FILE', 'BAD_CONFIG', 'BAD_WEIGHTS', 'NETWORK']

/** See `OpenOptions`. */
type ReadingOptions = Pick<OpenOptions, 'mayBeAbsent'>

/** Reads individual files of a model. */
export class FileReader {
  constructor(
    private readonly source: Source,
    private readonly tracker: LoadTracker,
    private readonly digests: ReadonlyMap<string, string>,
  ) {}

  /** @param take converts or rejects the bytes; only what it accepted is cached */
  readWhole<T>(name: string, take: (bytes: Uint8Array) => T | Promise<T>, options: ReadingOptions = {}): Promise<Read<T> | MissingFile> {
    return this.read(name, options, async (file) => {
      const tooLarge = () =>
        new RoutedAttentionError('BAD_FILE', `${name} has more than the ${MAX_JSON_BYTES} bytes expected of a JSON file`)
      if (file.size !== undefined && file.size > MAX_JSON_BYTES) throw tooLarge()
      const arrival = this.arrivalOf(name, file)
      const bytes = await file.take((file.size ?? MAX_JSON_BYTES) + 1, arrival.received)
      if (bytes.length > MAX_JSON_BYTES) throw tooLarge()
      arrival.verify()
      const value = await take(bytes)
      await file.keep?.([bytes])
      arrival.finish()
      return value
    })
  }

  /**
   * @param takeHeader converts the header or rejects the shard, before its tensors are read
   * @returns its result, and the tensors
   */
  readShard<T>(
    name: string,
    takeHeader: (header: SafetensorsHeader) => T,
    options: ReadingOptions = {},
  ): Promise<Read<{ readonly header: T; readonly tensors: Map<string, StoredTensor> }> | MissingFile> {
    return this.read(name, options, async (file) => {
      const arrival = this.arrivalOf(name, file)
      const { header, bytes } = await takeHeaderOf(name, file, arrival.received)
      const taken = takeHeader(header)
      arrival.announce(header.fileLength)
      const body = await file.take(header.fileLength - header.bodyOffset, arrival.received)
      const bodyLength = body.length
      const isLonger = (await file.take(1, arrival.received)).length > 0
      if (body.length < bodyLength) throw movedAway(name)
      const length = bytes.length + body.length
      if (isLonger || length < header.fileLength) {
        throw new RoutedAttentionError(
          'BAD_FILE',
          `${name} has ${isLonger ? 'more than ' : ''}${length} bytes, but its header describes ${header.fileLength}`,
        )
      }
      arrival.verify()
      const tensors = locateTensors(header, body)
      await file.keep?.([bytes, body])
      arrival.finish()
      return { header: taken, tensors }
    })
  }

  readHeader(name: string): Promise<Read<SafetensorsHeader> | MissingFile> {
    return this.read(name, {}, async (file) => (await takeHeaderOf(name, file, () => {})).header)
  }

  /** Opens, reads and closes a file; starts over if the file was restarted or a cached copy is broken. */
  private async read<T>(name: string, options: ReadingOptions, read: (file: OpenFile) => Promise<T>): Promise<Read<T> | MissingFile> {
    let file = await this.source.open(name, options)
    while (!isMissing(file)) {
      const opened: OpenFile = file
      try {
        const value = await read(opened)
        await opened.close()
        return { value }
      } catch (error) {
        if (error instanceof FileRestarted) {
          file = await opened.restart!()
          continue
        }
        await opened.close()
        if (!opened.drop || !(error instanceof RoutedAttentionError && BROKEN_COPY.includes(error.code))) throw error
        await opened.drop()
        file = await this.source.open(name, { ...options, fresh: true })
      }
    }
    return file
  }

  private arrivalOf(name: string, file: OpenFile): TrackedRead {
    return new TrackedRead(name, file.sizeHint, this.digests.get(name), this.tracker)
  }
}

async function takeHeaderOf(name: string, file: OpenFile, received: Received): Promise<{ header: SafetensorsHeader; bytes: Uint8Array }> {
  const start = await file.take(LENGTH_BYTES, received)
  const text = await file.take(safetensorsHeaderLength(start, file.size, name), received)
  const bytes = new Uint8Array(start.length + text.length)
  bytes.set(start)
  bytes.set(text, start.length)
  return { header: parseSafetensorsHeader(bytes, file.size, name), bytes }
}
