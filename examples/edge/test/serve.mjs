// @ts-check
/*
 * Serves a bundled worker in Miniflare, its storage in a folder, and prints where: a process of its own, so that it can be
 * killed.
 *
 *   node serve.mjs ENTRY STORAGE MODEL [BINDINGS]
 *
 * The weights lie in a bucket, or are static assets if BINDINGS have the folder of these as ASSETS_FOLDER.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { convertV4MiniflareOptions, Miniflare } from 'miniflare'

const [entry = '', storage = '', model = '', bindings = '{}'] = process.argv.slice(2)
const { ASSETS_FOLDER: directory, ...variables } = JSON.parse(bindings)
const folder = dirname(entry)
const files = readdirSync(folder).filter((name) => name.endsWith('.wasm'))
const miniflare = new Miniflare(
  convertV4MiniflareOptions({
    modules: [
      { type: 'ESModule', path: basename(entry), contents: readFileSync(entry, 'utf8') },
      ...files.map((name) => ({
        type: /** @type {const} */ ('CompiledWasm'),
        path: name,
        contents: Uint8Array.from(readFileSync(join(folder, name))),
      })),
    ],
    cf: false, // else it asks the network where it is
    compatibilityDate: '2026-01-01',
    durableObjects: { CONVERSATIONS: { className: 'ConversationObject', useSQLite: true } },
    resourcePersistencePath: storage,
    ...(directory
      ? { assets: { directory, binding: 'ASSETS', routerConfig: { has_user_worker: true, invoke_user_worker_ahead_of_assets: true } } }
      : { r2Buckets: ['WEIGHTS'] }),
    bindings: { MODEL: basename(model), IDLE_DAYS: 30, ...variables },
    inspectorPort: 0,
  }),
)
const address = await miniflare.ready
const bucket = directory ? undefined : await miniflare.getR2Bucket('WEIGHTS')
for (const name of bucket ? ['config.json', 'model.safetensors', 'tokenizer.json'] : []) {
  const key = `${basename(model)}/${name}`
  if (!(await bucket?.head(key))) await bucket?.put(key, readFileSync(join(model, name)))
}
const inspector = await miniflare.getInspectorURL()
console.log(JSON.stringify({ ready: true, address: String(address), inspector: String(inspector) }))
