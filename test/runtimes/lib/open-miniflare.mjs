import { readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { convertV4MiniflareOptions, Miniflare } from 'miniflare'

/** Serves a bundled edge worker, with the WebAssembly files beside it. @param {string} entry @param {string} [flags] */
export function openMiniflare(entry, flags, bindings = {}) {
  const folder = dirname(entry)
  const wasm = readdirSync(folder).filter((name) => name.endsWith('.wasm'))
  return new Miniflare(
    convertV4MiniflareOptions({
      modules: [
        { type: 'ESModule', path: basename(entry), contents: readFileSync(entry, 'utf8') },
        ...wasm.map((name) => ({
          type: /** @type {const} */ ('CompiledWasm'),
          path: name,
          contents: Uint8Array.from(readFileSync(join(folder, name))),
        })),
      ],
      cf: false, // else it asks the network where it is
      bindings,
      compatibilityDate: '2026-01-01',
      compatibilityFlags: flags ? flags.split(',') : [],
    }),
  )
}
