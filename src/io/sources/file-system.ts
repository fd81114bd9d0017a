import type * as nodeCrypto from 'node:crypto'
import type * as nodeFiles from 'node:fs/promises'
import type * as nodeUrl from 'node:url'

export interface HostFiles {
  readonly files: typeof nodeFiles
  readonly urls: typeof nodeUrl
  readonly crypto: typeof nodeCrypto
}

/**
 * The runtime's file system; undefined in a browser or an edge worker. Obtained through `process` rather than imported,
 * so that bundlers see no import to resolve; this works in Node, Deno and Bun.
 */
export function fileSystem(): HostFiles | undefined {
  const { process } = globalThis as { process?: { getBuiltinModule?: (name: string) => unknown } }
  if (typeof process?.getBuiltinModule !== 'function') return undefined
  const files = process.getBuiltinModule('node:fs/promises') as HostFiles['files'] | undefined
  const urls = process.getBuiltinModule('node:url') as HostFiles['urls'] | undefined
  const crypto = process.getBuiltinModule('node:crypto') as HostFiles['crypto'] | undefined
  return files && urls && crypto ? { files, urls, crypto } : undefined
}
