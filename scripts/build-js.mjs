/*
 * Bundles src/ into dist/: index.js (the package) and cli.js (the command) over shared chunks, nothing left to install or to map in a browser.
 * Beside them the two release builds as files, for hosts that compile no WebAssembly at run time and import it instead.
 */
import { chmodSync, copyFileSync, existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

process.chdir(fileURLToPath(new URL('..', import.meta.url)))

const { metafile } = await build({
  entryPoints: { index: 'src/index.ts', cli: 'src/cli/main.ts' },
  outdir: 'dist',
  chunkNames: 'chunks/[name]-[hash]',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'neutral',
  target: 'es2022',
  mainFields: ['module', 'main'],
  external: ['node:*'],
  // Names stay, for stacks that can be read.
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: 'none',
  metafile: true,
  logLevel: 'warning',
})

// Chunks of earlier builds; index.js and cli.js never lack theirs meanwhile.
for (const name of existsSync('dist/chunks') ? readdirSync('dist/chunks') : []) {
  if (!(`dist/chunks/${name}` in metafile.outputs)) rmSync(`dist/chunks/${name}`)
}

const command = readFileSync('dist/cli.js', 'utf8')
if (!command.startsWith('#!')) writeFileSync('dist/cli.js', `#!/usr/bin/env node\n${command}`)
chmodSync('dist/cli.js', 0o755)
for (const name of ['baseline', 'relaxed']) copyFileSync(`build/${name}.wasm`, `dist/${name}.wasm`)
writeFileSync('dist/third-party-licenses.txt', licenses())

/** What the bundle contains of others, and on which terms. */
function licenses() {
  const packages = new Set()
  for (const input of Object.keys(metafile.inputs)) {
    const folder = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1]
    if (folder) packages.add(folder)
  }
  const texts = [...packages].sort().map((folder) => {
    const { name, version, license, author } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry))
    const by = (typeof author === 'string' ? author : author?.name)?.replace(/ *<.*>/, '')
    return `${name} ${version}, ${license}${by ? `, ${by}` : ''}\n${file ? `\n${readFileSync(join(folder, file), 'utf8').trim()}\n` : ''}`
  })
  return texts.join(`\n${'-'.repeat(80)}\n\n`)
}
