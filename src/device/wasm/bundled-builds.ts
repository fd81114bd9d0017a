import type * as buffer from 'node:buffer'
import type * as zlib from 'node:zlib'
import { builtinModule } from '../../builtin-module.js'
import { inflate } from './inflate.js'
import { builds } from './modules.generated.js'

export type BuildName = keyof typeof builds.byteLengths

const names = Object.keys(builds.byteLengths) as BuildName[]
/** Held weakly: an engine that does not take one build asks for the other right away, and for none afterwards. */
let inflated: WeakRef<Uint8Array> | undefined

/** The bytes of a build that is bundled with the package. */
export function bundledBuild(name: BuildName): Uint8Array<ArrayBuffer> {
  const interleaved = inflated?.deref() ?? inflateBuilds()
  inflated = new WeakRef(interleaved)
  const bytes = new Uint8Array(builds.byteLengths[name])
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

/** With Node's modules, which Deno and Bun also have, in 1 ms; our own functions take 5 to 20. */
function inflateBuilds(): Uint8Array {
  const { deflated, byteLengths } = builds
  const { Buffer } = builtinModule<typeof buffer>('node:buffer') ?? {}
  const { inflateRawSync } = builtinModule<typeof zlib>('node:zlib') ?? {}
  if (Buffer && inflateRawSync) return inflateRawSync(Buffer.from(deflated, 'base64'))
  const total = names.reduce((sum, name) => sum + byteLengths[name], 0)
  return inflate(decodeBase64(deflated), total)
}

function decodeBase64(text: string): Uint8Array {
  const binary = atob(text)
  const bytes = new Uint8Array(binary.length)
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i)
  return bytes
}
