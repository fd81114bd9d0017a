// @ts-check
/*
 * Builds the page and serves it to browsers on this machine, with a tab that static files do not have: the bench.
 *
 *   npm run page                        builds everything, serves it on port 8081
 *   npm run page -- --port 9000         on another port
 *   npm run page -- --build [FOLDER]    only writes the static files, to examples/page/dist if no folder is given
 */
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { benchAdditions } from './bench-additions.mjs'
import { buildPage } from './build.mjs'
import { serveFolder } from './serve.mjs'

const { values, positionals } = parseArgs({
  options: { build: { type: 'boolean', default: false }, port: { type: 'string', default: '8081' } },
  allowPositionals: true,
})
const folder = resolve(positionals[0] ?? fileURLToPath(new URL('./dist', import.meta.url)))
await buildPage(folder, { bench: !values.build })
if (values.build) console.log(`wrote ${folder}`)
else {
  const { origin } = await serveFolder(folder, { port: Number(values.port), additions: benchAdditions() })
  console.log(`open ${origin}/`)
}
