/*
 * Bundles src/ into dist/: index.js (the package), webgpu.js (with the GPU's part inside) and cli.js (the command) over shared chunks, nothing left to install or to map in a browser;
 * workerd.js, the package for hosts that compile no WebAssembly at run time, importing the two release builds that lie beside it;
 * and worker.js, what threads run, for pages that must host it.
 */
import { chmodSync, copyFileSync, existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

process.chdir(fileURLToPath(new URL('..', import.meta.url)))

/** @type {import('esbuild').BuildOptions & { metafile: true }} */
const options = {
  outdir: 'dist',
  chunkNames: 'chunks/[name]-[hash]',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'neutral',
  target: 'es2022',
  mainFields: ['module', 'main'],
  external: ['node:*'],
  // Names stay, for stacks that can be read; so do lines, since Node prints the whole line that threw.
  minifySyntax: true,
  minifyWhitespace: true,
  lineLimit: 160,
  legalComments: 'none',
  metafile: true,
  logLevel: 'warning',
}

const { metafile } = await build({ ...options, entryPoints: { index: 'src/index.ts', webgpu: 'src/webgpu.ts', cli: 'src/cli/main.ts' } })
const workerd = await build({ ...options, entryPoints: { workerd: 'src/index.ts' }, plugins: [importWasm(), omitWebGpu()] })
await writeWorker()

// Chunks of earlier builds; index.js and cli.js never lack theirs meanwhile.
for (const name of existsSync('dist/chunks') ? readdirSync('dist/chunks') : []) {
  if (!(`dist/chunks/${name}` in { ...metafile.outputs, ...workerd.metafile.outputs })) rmSync(`dist/chunks/${name}`)
}

hideFromBundlers(readdirSync('dist/chunks').map((name) => `dist/chunks/${name}`))

prepend('dist/cli.js', '#!/usr/bin/env node\n')
// Where JSR finds the types.
prepend('dist/index.js', '/* @ts-self-types="./jsr.d.ts" */\n')
chmodSync('dist/cli.js', 0o755)
for (const name of ['baseline', 'relaxed']) copyFileSync(`build/${name}.wasm`, `dist/${name}.wasm`)
writeFileSync('dist/third-party-licenses.txt', licenses())

/** The release builds as imports of the files beside the entry, in place of texts inside it. @returns {import('esbuild').Plugin} */
function importWasm() {
  return {
    name: 'import-wasm',
    setup(building) {
      building.onResolve({ filter: /^[.]\/compile[.]js$/ }, ({ resolveDir }) => ({ path: join(resolveDir, 'compile-static.ts') }))
      building.onResolve({ filter: /[.]wasm$/ }, ({ path }) => ({ path, external: true }))
    },
  }
}

/** Nothing of WebGPU, which edge workers do not have. @returns {import('esbuild').Plugin} */
function omitWebGpu() {
  return {
    name: 'omit-webgpu',
    setup(building) {
      building.onResolve({ filter: /^[.]\/webgpu\/open[.]js$/ }, ({ resolveDir }) => ({ path: join(resolveDir, 'webgpu/open-nowhere.ts') }))
    },
  }
}

/** What threads run, as a file to be hosted. */
async function writeWorker() {
  const { outputFiles } = await build({ entryPoints: ['src/device/wasm/worker-source.ts'], format: 'esm', write: false })
  const { workerSource } = await import(`data:text/javascript,${encodeURIComponent(outputFiles[0]?.text ?? '')}`)
  writeFileSync('dist/worker.js', workerSource.trimStart())
}

/** @param {string} file @param {string} line */
function prepend(file, line) {
  const text = readFileSync(file, 'utf8')
  if (!text.startsWith(line)) writeFileSync(file, line + text)
}

/**
 * Says again that the import of a package which the user may have is not for bundlers: minifying drops the comments that say so, and without them
 * webpack warns every user.
 * @param {string[]} files
 */
function hideFromBundlers(files) {
  const importing = files.filter((file) => /import\((\/\*.*\*\/)?name\)/.test(readFileSync(file, 'utf8')))
  if (importing.length === 0) throw new Error('no chunk imports a package by a name of its own any more')
  for (const file of importing) {
    writeFileSync(file, readFileSync(file, 'utf8').replace('import(name)', 'import(/* webpackIgnore: true *//* @vite-ignore */name)'))
  }
}

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
