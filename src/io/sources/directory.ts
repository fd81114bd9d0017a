import type { FileHandle } from 'node:fs/promises'
import { reasonOf, RoutedAttentionError } from '../../errors.js'
import { isError } from '../../realm.js'
import { type HostFiles, fileSystem } from './file-system.js'
import { allocateBytes, isMissing, type MissingFile, type OpenFile, PIECE_BYTES, type Source, untilAborted } from './source.js'

/**
 * A folder in the file system.
 * @throws RoutedAttentionError `UNSUPPORTED` if there is none
 */
export function directorySource(folder: string | URL, signal?: AbortSignal): Source {
  const system = fileSystem()
  if (system === undefined) {
    throw new RoutedAttentionError(
      'UNSUPPORTED',
      `a folder (${String(folder)}) needs a file system, and this runtime has none; pass an http(s) URL, File[] or a Map`,
    )
  }
  let path: string
  try {
    path = typeof folder === 'string' ? folder : system.urls.fileURLToPath(folder)
  } catch (cause) {
    throw new RoutedAttentionError('BAD_ARGUMENT', `${String(folder)} is not a folder in this file system`, { cause })
  }
  return {
    name: path,
    isLocal: true,
    open: async (file) => {
      const opened = await openPath(`${path}/${file}`, signal)
      return isMissing(opened) ? { ...opened, missing: await whyMissing(system, path) } : opened
    },
  }
}

async function whyMissing({ files }: HostFiles, folder: string): Promise<string> {
  try {
    if ((await files.stat(folder)).isDirectory()) return 'no such file'
    return `${folder} is a file: pass the folder that contains it`
  } catch {
    return isAbsolute(folder) ? 'there is no such folder' : `there is no such folder in ${globalThis.process.cwd()}`
  }
}

function isAbsolute(path: string): boolean {
  return /^([/\\]|[a-z]:)/i.test(path)
}

/** @throws RoutedAttentionError `BAD_FILE` if the path exists but cannot be read */
export async function openPath(path: string, signal?: AbortSignal): Promise<OpenFile | MissingFile> {
  const { files } = fileSystem()!
  try {
    // Check before opening: opening a pipe would wait for a writer.
    const stat = await untilAborted(signal, files.stat(path))
    if (!stat.isFile()) throw new RoutedAttentionError('BAD_FILE', `${path} is not a file`)
    const handle = await files.open(path, 'r')
    return new PathFile(path, handle, stat.size, signal)
  } catch (error) {
    if (isErrorCode(error, 'ENOENT') || isErrorCode(error, 'ENOTDIR')) return { missing: 'no such file', isReplaced: false }
    throw unreadable(path, error, signal)
  }
}

/** An open file of the file system; closes its handle. */
export class PathFile implements OpenFile {
  readonly sizeHint: number
  private position = 0
  /** What was read last; each piece overwrites the one before. */
  private piece: Uint8Array | undefined

  constructor(
    private readonly path: string,
    private readonly handle: FileHandle,
    readonly size: number,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.sizeHint = size
  }

  async next(most: number): Promise<Uint8Array | undefined> {
    this.piece ??= allocateBytes(Math.min(PIECE_BYTES, this.size), this.path)
    const length = Math.min(most, this.piece.length, this.size - this.position)
    const bytes = length > 0 ? await this.read(this.piece, length) : 0
    return bytes > 0 ? this.piece.subarray(0, bytes) : undefined
  }

  async close(): Promise<void> {
    await this.handle.close()
  }

  private async read(target: Uint8Array, length: number): Promise<number> {
    try {
      // Not raced against the signal: the handle must not be closed under a read.
      const { bytesRead } = await this.handle.read(target, 0, length, this.position)
      this.position += bytesRead
      return bytesRead
    } catch (error) {
      throw unreadable(this.path, error, this.signal)
    }
  }
}

function unreadable(path: string, error: unknown, signal: AbortSignal | undefined): unknown {
  if (error instanceof RoutedAttentionError || (signal?.aborted && error === signal.reason)) return error
  return new RoutedAttentionError('BAD_FILE', `cannot read ${path}: ${reasonOf(error)}`, {
    cause: error,
  })
}

function isErrorCode(error: unknown, code: string): boolean {
  return isError(error) && (error as { code?: unknown }).code === code
}
