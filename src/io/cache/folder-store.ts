import type { FileHandle } from 'node:fs/promises'
import { PathFile } from '../sources/directory.js'
import { fileSystem } from '../sources/file-system.js'
import { type EntryWriter, PIECE_BYTES } from '../sources/source.js'
import type { Store } from './store.js'

/**
 * Each entry ends with the number of preceding bytes, so that a truncated copy is detected even for files of unknown
 * length.
 */
const FOOTER_BYTES = 8

/** Suffix of entries being written; those left by a killed process are removed after a day. */
const TEMPORARY = '.part'
const ABANDONED_MS = 86_400_000

/** Stores bytes as files in a folder, created when needed. Any number of processes may share one. */
export function folderStore(folder: string, signal: AbortSignal | undefined): Store {
  const { files, crypto } = fileSystem()!
  const pathOf = (key: string) => `${folder}/${crypto.createHash('sha256').update(key).digest('hex')}`
  let isSwept = false
  return {
    open: async (key, what) => {
      const handle = await files.open(pathOf(key), 'r')
      try {
        const size = (await handle.stat()).size - FOOTER_BYTES
        const footer = new Uint8Array(FOOTER_BYTES)
        await handle.read(footer, 0, FOOTER_BYTES, Math.max(size, 0))
        if (new DataView(footer.buffer).getBigUint64(0, true) === BigInt(size)) return new PathFile(what, handle, size, signal)
      } catch (error) {
        await handle.close()
        throw error
      }
      await handle.close()
      await files.rm(pathOf(key), { force: true })
      return undefined
    },
    create: async (key) => {
      await files.mkdir(folder, { recursive: true })
      const writer = await FolderWriter.create(pathOf(key), signal)
      const sweepOnce = async () => {
        if (!isSwept) await sweep(folder)
        isSwept = true
      }
      return { write: (bytes) => writer.write(bytes), commit: () => writer.commit().then(sweepOnce), abort: () => writer.abort() }
    },
    drop: (key) => files.rm(pathOf(key), { force: true }),
  }
}

/** Writes an entry to a temporary file, and renames it when it is complete. */
class FolderWriter implements EntryWriter {
  private size = 0

  private constructor(
    private readonly path: string,
    private readonly temporary: string,
    private readonly handle: FileHandle,
    private readonly signal: AbortSignal | undefined,
  ) {}

  static async create(path: string, signal: AbortSignal | undefined): Promise<FolderWriter> {
    const { files, crypto } = fileSystem()!
    const temporary = `${path}.${crypto.randomUUID()}${TEMPORARY}`
    return new FolderWriter(path, temporary, await files.open(temporary, 'wx'), signal)
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (let offset = 0; offset < bytes.length;) {
      this.signal?.throwIfAborted()
      const { bytesWritten } = await this.handle.write(bytes, offset, Math.min(PIECE_BYTES, bytes.length - offset))
      offset += bytesWritten
    }
    this.size += bytes.length
  }

  async commit(): Promise<void> {
    const footer = new Uint8Array(FOOTER_BYTES)
    new DataView(footer.buffer).setBigUint64(0, BigInt(this.size), true)
    await this.write(footer)
    await this.handle.datasync()
    await this.handle.close()
    await fileSystem()!.files.rename(this.temporary, this.path) // atomic, whoever writes first
  }

  async abort(): Promise<void> {
    await this.handle.close().catch(() => undefined) // it may be closed already
    await fileSystem()!.files.rm(this.temporary, { force: true })
  }
}

async function sweep(folder: string): Promise<void> {
  const { files } = fileSystem()!
  for (const name of await files.readdir(folder)) {
    const path = `${folder}/${name}`
    if (name.endsWith(TEMPORARY) && (await files.stat(path)).mtimeMs < Date.now() - ABANDONED_MS) await files.rm(path, { force: true })
  }
}
