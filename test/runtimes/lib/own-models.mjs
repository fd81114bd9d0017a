import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build as bundle } from 'esbuild'
import { build, root } from './paths.mjs'

/** Writes small models of bytes, as a visitor may have them: one that is causal, and one with the published routing. */
export async function writeOwnModels(/** @type {string} */ folder) {
  const outfile = join(build, 'small-models.mjs')
  await bundle({
    entryPoints: [join(root, 'test/support/small-models.ts')],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    logLevel: 'warning',
  })
  const { causalConfig, publishedConfig, smallModel, smallModelFiles } = await import(pathToFileURL(outfile).href)
  const models = { 'own-causal': { ...causalConfig, num_experts: 3, heads: 3 }, 'own-published': publishedConfig }
  for (const [name, config] of Object.entries(models)) {
    mkdirSync(join(folder, name), { recursive: true })
    for (const [file, bytes] of smallModelFiles(smallModel({ ...config, num_tokens: 256 }))) writeFileSync(join(folder, name, file), bytes)
  }
}
