/*
 * Bundles src/ into dist/: index.js (the package), webgpu.js (with the GPU's part inside) and cli.js (the command) over shared chunks, nothing left to install or to map in a browser;
 * workerd.js, the package for hosts that compile no WebAssembly at run time, over the same chunks, importing the two release builds that lie beside it;
 * and worker.js, what threads run, for pages that must host it.
 */
import { chmodSync, copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { afterInsertion, afterLines, keepLines } from './source-maps.mjs'

process.chdir(fileURLToPath(new URL('..', import.meta.url)))

/** @type {import('esbuild').BuildOptions & { metafile: true, write: false }} */
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
  sourcemap: 'linked',
  sourcesContent: false,
  write: false,
  metafile: true,
  logLevel: 'warning',
}

const { metafile, outputFiles } = await build({
  ...options,
  entryPoints: { index: 'src/index.ts', webgpu: 'src/webgpu.ts', cli: 'src/cli/main.ts', workerd: 'src/index.ts?workerd' },
  plugins: [
    await variant('workerd', { 'src/device/wasm/compile.ts': 'compile-static.ts', 'src/device/webgpu/open.ts': 'open-nowhere.ts' }),
  ],
})
/** What is written, by path. */
const texts = new Map(outputFiles.map(({ path, text }) => [relative('', path), text]))
for (const [path, text] of texts) if (path.endsWith('.map')) shrinkMap(path, JSON.parse(text))
hideFromBundlers()
// Where JSR finds the types.
prepend('dist/index.js', '/* @ts-self-types="./jsr.d.ts" */\n')

// Chunks first and stale ones last: index.js and cli.js never lack theirs meanwhile.
mkdirSync('dist/chunks', { recursive: true })
const isEntry = (/** @type {string} */ path) => dirname(path) === 'dist'
for (const path of [...texts.keys()].sort((a, b) => Number(isEntry(a)) - Number(isEntry(b)))) writeFileSync(path, texts.get(path) ?? '')
for (const name of readdirSync('dist/chunks')) if (!texts.has(`dist/chunks/${name}`)) rmSync(`dist/chunks/${name}`)
await writeWorker()
chmodSync('dist/cli.js', 0o755)
for (const name of ['baseline', 'relaxed']) copyFileSync(`build/${name}.wasm`, `dist/${name}.wasm`)
writeFileSync('dist/third-party-licenses.txt', licenses())

/**
 * An entry that has other files in the place of some. Only what leads to these is in the bundle twice, everything else is shared with the other entries.
 * @param {string} name of the entry, and after a question mark at its source
 * @param {Record<string, string>} replacements files beside the replaced ones
 * @returns {Promise<import('esbuild').Plugin>}
 */
async function variant(name, replacements) {
  const leading = await importersOf(Object.keys(replacements))
  return {
    name,
    setup(building) {
      building.onResolve({ filter: /[.]wasm$/ }, ({ path }) => ({ path, external: true }))
      building.onResolve({ filter: /[?]/ }, ({ path }) => ({ path: path.replace(`?${name}`, ''), namespace: name }))
      building.onResolve({ filter: /^[.]/, namespace: name }, ({ path, resolveDir }) => {
        const file = relative('', join(resolveDir, path)).replace(/js$/, 'ts')
        const replacement = replacements[file]
        if (replacement) return { path: resolve(dirname(file), replacement) }
        return leading.has(file) ? { path: file, namespace: name } : { path: resolve(file) }
      })
      building.onLoad({ filter: /./, namespace: name }, ({ path }) => {
        return { contents: readFileSync(path, 'utf8'), loader: 'ts', resolveDir: resolve(dirname(path)) }
      })
    },
  }
}

/** What leads to some files, by any number of imports. @param {string[]} files @returns {Promise<Set<string>>} */
async function importersOf(files) {
  const { metafile } = await build({ ...options, entryPoints: ['src/index.ts'] })
  for (const file of files) if (!(file in metafile.inputs)) throw new Error(`src/index.ts leads to no ${file}, which an entry replaces`)
  const found = new Set(files)
  // a set visits what is added to it meanwhile
  for (const file of found)
    for (const [importer, { imports }] of Object.entries(metafile.inputs))
      if (imports.some(({ path }) => path === file)) found.add(importer)
  return found
}

/** What threads run, as a file to be hosted. */
async function writeWorker() {
  const { outputFiles } = await build({ entryPoints: ['src/device/wasm/worker-source.ts'], format: 'esm', write: false })
  const { workerSource } = await import(`data:text/javascript,${encodeURIComponent(outputFiles[0]?.text ?? '')}`)
  writeFileSync('dist/worker.js', workerSource.trimStart())
}

/** Leaves what stack traces need of a source map, or nothing where there is nothing. @param {string} path @param {import('./source-maps.mjs').SourceMap} map */
function shrinkMap(path, map) {
  const file = path.replace(/[.]map$/, '')
  // a variant's sources are named after its namespace, from here
  const sources = map.sources.map((source) => source.replace(/^\w+:/, `${relative(dirname(path), '')}/`))
  const kept = keepLines({ ...map, sources })
  if (kept.sources.length > 0) texts.set(path, JSON.stringify(kept))
  else {
    texts.delete(path)
    texts.set(file, (texts.get(file) ?? '').replace(/\/\/# sourceMappingURL=.*\n$/, ''))
  }
}

/** @param {string} path @param {(map: import('./source-maps.mjs').SourceMap) => import('./source-maps.mjs').SourceMap} change */
function changeMap(path, change) {
  const map = texts.get(`${path}.map`)
  if (map !== undefined) texts.set(`${path}.map`, JSON.stringify(change(JSON.parse(map))))
}

/** @param {string} path @param {string} line */
function prepend(path, line) {
  texts.set(path, line + texts.get(path))
  changeMap(path, (map) => afterLines(map, 1))
}

/**
 * Says again that the import of a package which the user may have is not for bundlers: minifying drops the comments that say so, and without them
 * webpack warns every user.
 */
function hideFromBundlers() {
  const comments = '/* webpackIgnore: true *//* @vite-ignore */'
  const importing = [...texts].filter(([, text]) => text.includes('import(name)'))
  if (importing.length === 0) throw new Error('no chunk imports a package by a name of its own any more')
  for (const [path, text] of importing) {
    const before = text.slice(0, text.indexOf('import(name)')).split('\n')
    texts.set(path, text.replace('import(name)', `import(${comments}name)`))
    changeMap(path, (map) => afterInsertion(map, before.length - 1, before.at(-1)?.length ?? 0, comments.length))
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
