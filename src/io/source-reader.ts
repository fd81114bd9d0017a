import { type ErrorCode, RoutedAttentionError } from '../errors.js'
import { yieldToEventLoop } from '../event-loop.js'
import { TrackedRead } from './tracked-read.js'
import { MAX_JSON_BYTES } from './json.js'
import type { LoadTracker } from './progress.js'
import { readBytes, type Received } from './read-bytes.js'
import { LENGTH_BYTES, parseSafetensorsHeader, type SafetensorsHeader, safetensorsHeaderLength } from './safetensors.js'
import { FileRestarted, isMissing, type MissingFile, type OpenFile, type OpenOptions, PIECE_BYTES, type Source } from './sources/source.js'
import { type TensorSink, TensorSplitter } from './tensor-sink.js'

export interface Read<T> {
  readonly value: T
}

/** Errors that a cached copy may cause if it is damaged or truncated, or belongs to another version of the model. */
const BROKEN_COPY: readonly ErrorCode[] = ['BAD_FILE', 'BAD_CONFIG', 'BAD_WEIGHTS', 'NETWORK']

/** See `OpenOptions`. */
type ReadingOptions = Pick<OpenOptions, 'mayBeAbsent'>

/** Reads individual files of a model. */
export class SourceReader {
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
      const read = this.track(name, file)
      const bytes = await readBytes(file, (file.size ?? MAX_JSON_BYTES) + 1, name, read.received)
      if (bytes.length > MAX_JSON_BYTES) throw tooLarge()
      read.verify()
      const value = await take(bytes)
      await keeping(file, bytes.length, (keep) => keep(bytes))
      read.finish()
      return value
    })
  }

  /**
   * Reads a file of tensors piece by piece. Only what was taken whole is cached.
   * @param takeHeader given the header before its tensors are read: returns what takes their bytes, or rejects the file.
   * Called again if the file is read again
   */
  readShard(
    name: string,
    takeHeader: (header: SafetensorsHeader) => TensorSink | Promise<TensorSink>,
    options: ReadingOptions = {},
  ): Promise<Read<void> | MissingFile> {
    return this.read(name, options, async (file) => {
      const read = this.track(name, file)
      const { header, bytes } = await takeHeaderOf(name, file, read.received)
      const sink = await takeHeader(header)
      const { fileLength } = header
      read.announce(fileLength)
      await keeping(file, fileLength, async (keep) => {
        await keep(bytes)
        const body = new TensorSplitter(header, sink)
        let position = header.bodyOffset
        while (position < fileLength) {
          const piece = await file.next(Math.min(PIECE_BYTES, fileLength - position))
          if (piece === undefined) throw wrongLength(name, String(position), fileLength)
          if (piece.length === 0) continue // a caller's bytes that are gone: the next call says so
          position += piece.length
          read.received(piece)
          body.write(piece)
          await keep(piece)
          const turning = yieldToEventLoop()
          if (turning) await turning
        }
        if ((await file.next(1)) !== undefined) throw wrongLength(name, `more than ${fileLength}`, fileLength)
        read.verify()
      })
      read.finish()
    })
  }

  /** @param take converts or rejects the header */
  readHeader<T>(name: string, take: (header: SafetensorsHeader) => T | Promise<T>): Promise<Read<T> | MissingFile> {
    return this.read(name, {}, async (file) => take((await takeHeaderOf(name, file, () => {})).header))
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

  private track(name: string, file: OpenFile): TrackedRead {
    return new TrackedRead(name, file.sizeHint, this.digests.get(name), this.tracker)
  }
}

async function takeHeaderOf(name: string, file: OpenFile, received: Received): Promise<{ header: SafetensorsHeader; bytes: Uint8Array }> {
  const start = await readBytes(file, LENGTH_BYTES, name, received)
  const text = await readBytes(file, safetensorsHeaderLength(start, file.size, name), name, received)
  const bytes = new Uint8Array(start.length + text.length)
  bytes.set(start)
  bytes.set(text, start.length)
  return { header: parseSafetensorsHeader(bytes, file.size, name), bytes }
}

/**
 * Stores a file, if its source has a cache.
 * @param write passes all of it to `keep`, in order; if it throws, nothing is stored
 */
async function keeping(file: OpenFile, size: number, write: (keep: (bytes: Uint8Array) => Promise<void>) => Promise<void>): Promise<void> {
  const entry = file.keep?.(size)
  try {
    await write(async (bytes) => entry?.write(bytes))
    await entry?.commit()
  } finally {
    await entry?.abort()
  }
}

/** @param length what it has, in bytes */
function wrongLength(name: string, length: string, expected: number): RoutedAttentionError {
  return new RoutedAttentionError('BAD_FILE', `${name} has ${length} bytes, but its header describes ${expected}`)
}
