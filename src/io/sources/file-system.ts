import type * as nodeCrypto from 'node:crypto'
import type * as nodeFiles from 'node:fs/promises'
import type * as nodeUrl from 'node:url'

export interface FileSystem {
  readonly files: typeof nodeFiles
  readonly urls: typeof nodeUrl
  readonly crypto: typeof nodeCrypto
}

/**
 * The runtime's file system; undefined in a browser or an edge worker. Obtained through `process` rather than imported,
 * so that bundlers see no import to resolve; this works in Node, Deno and Bun.
 */
export function fileSystem(): FileSystem | undefined {
  const { process } = globalThis as { process?: { getBuiltinModule?: (name: string) => unknown } }
  if (typeof process?.getBuiltinModule !== 'function') return undefined
  const files = process.getBuiltinModule('node:fs/promises') as FileSystem['files'] | undefined
  const urls = process.getBuiltinModule('node:url') as FileSystem['urls'] | undefined
  const crypto = process.getBuiltinModule('node:crypto') as FileSystem['crypto'] | undefined
  return files && urls && crypto ? { files, urls, crypto } : undefined
}
