/*
 * Under Node 22 or newer: `miniflare.mjs ENTRY FLAGS CONFIG BINDINGS` serves a bundled edge worker, posts CONFIG to it,
 * and prints what it answers.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { convertV4MiniflareOptions, Miniflare } from 'miniflare'

const [entry = '', flags, body, bindings = '{}'] = process.argv.slice(2)
const folder = dirname(entry)
const wasm = readdirSync(folder).filter((name) => name.endsWith('.wasm'))
const miniflare = new Miniflare(
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
    bindings: JSON.parse(bindings),
    compatibilityDate: '2026-01-01',
    compatibilityFlags: flags ? flags.split(',') : [],
  }),
)
try {
  const response = await miniflare.dispatchFetch('http://edge.example/', { method: 'POST', body: body ?? '' })
  console.log(await response.text())
  if (!response.ok) process.exitCode = 1
} finally {
  await miniflare.dispose()
}
