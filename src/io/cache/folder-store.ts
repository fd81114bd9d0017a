import type { FileHandle } from 'node:fs/promises'
import { PathFile } from '../sources/directory.js'
import { fileSystem } from '../sources/file-system.js'
import { PIECE_BYTES } from '../sources/source.js'
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
    keep: async (key, parts) => {
      await files.mkdir(folder, { recursive: true })
      const temporary = `${pathOf(key)}.${crypto.randomUUID()}${TEMPORARY}`
      try {
        const handle = await files.open(temporary, 'wx')
        try {
          await write(handle, [...parts, footerOf(parts)], signal)
        } finally {
          await handle.close()
        }
        await files.rename(temporary, pathOf(key)) // atomic, whoever writes first
      } catch (error) {
        await files.rm(temporary, { force: true })
        throw error
      }
      if (!isSwept) await sweep(folder)
      isSwept = true
    },
    drop: (key) => files.rm(pathOf(key), { force: true }),
  }
}

async function write(handle: FileHandle, parts: readonly Uint8Array[], signal: AbortSignal | undefined): Promise<void> {
  for (const part of parts) {
    for (let offset = 0; offset < part.length;) {
      signal?.throwIfAborted()
      const { bytesWritten } = await handle.write(part, offset, Math.min(PIECE_BYTES, part.length - offset))
      offset += bytesWritten
    }
  }
  await handle.datasync()
}

function footerOf(parts: readonly Uint8Array[]): Uint8Array {
  const footer = new Uint8Array(FOOTER_BYTES)
  const size = parts.reduce((sum, { length }) => sum + length, 0)
  new DataView(footer.buffer).setBigUint64(0, BigInt(size), true)
  return footer
}

async function sweep(folder: string): Promise<void> {
  const { files } = fileSystem()!
  for (const name of await files.readdir(folder)) {
    const path = `${folder}/${name}`
    if (name.endsWith(TEMPORARY) && (await files.stat(path)).mtimeMs < Date.now() - ABANDONED_MS) await files.rm(path, { force: true })
  }
}
