import type * as zlib from 'node:zlib'
import { builtinModule } from '../../builtin-module.js'
import { inflate } from './inflate.js'
import { builds } from './modules.generated.js'

export type BuildName = keyof typeof builds.byteLengths

/** The bytes of a build that is bundled with the package. They are not kept: an engine compiles a build once. */
export function bundledBuild(name: BuildName): Uint8Array<ArrayBuffer> {
  const names = Object.keys(builds.byteLengths) as BuildName[]
  const total = names.reduce((sum, each) => sum + builds.byteLengths[each], 0)
  const bytes = new Uint8Array(builds.byteLengths[name])
  const interleaved = inflateBuilds(decodeBase64(builds.deflated), total)
  // block after block, one of each build that has not ended
  let from = 0
  for (let at = 0; at < bytes.length; at += builds.blockBytes) {
    for (const each of names) {
      const length = Math.min(Math.max(0, builds.byteLengths[each] - at), builds.blockBytes)
      if (each === name) bytes.set(interleaved.subarray(from, from + length), at)
      from += length
    }
  }
  return bytes
}

/** Node's zlib, which Deno and Bun also have, takes 1 ms; our own function 5 to 20. */
function inflateBuilds(bytes: Uint8Array, length: number): Uint8Array {
  return builtinModule<typeof zlib>('node:zlib')?.inflateRawSync?.(bytes) ?? inflate(bytes, length)
}

function decodeBase64(text: string): Uint8Array {
  const binary = atob(text)
  const bytes = new Uint8Array(binary.length)
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i)
  return bytes
}
