/*
 * Bundles src/ into dist/, dependencies included, so that browsers need no import map:
 *
 * - index.js (the package), webgpu.js (with the WebGPU backend), server.js and cli.js (the command), which share chunks;
 * - workerd.js, for hosts that cannot compile WebAssembly at run time: shares the chunks and imports the .wasm files;
 * - worker.js, the code of the threads, for pages whose policy requires hosting it.
 */
import { chmodSync, copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, transform } from 'esbuild'
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
  // names are kept for readable stack traces, and so are lines, since Node prints the whole line that threw
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
  entryPoints: {
    index: 'src/index.ts',
    webgpu: 'src/webgpu.ts',
    server: 'src/server/index.ts',
    'ai-sdk': 'src/ai-sdk/index.ts',
    cli: 'src/cli/main.ts',
    workerd: 'src/index.ts?workerd',
  },
  plugins: [
    shrunkAdapter(),
    await variant('workerd', { 'src/device/wasm/compile.ts': 'compile-static.ts', 'src/device/webgpu/open.ts': 'open-nowhere.ts' }),
  ],
})
/** The output files, by path. */
const texts = new Map(outputFiles.map(({ path, text }) => [relative('', path), text]))
for (const [path, text] of texts) if (path.endsWith('.map')) shrinkMap(path, JSON.parse(text))
hideFromBundlers()
dropBareImports()
// tells JSR where the types are
prepend('dist/index.js', '/* @ts-self-types="./jsr.d.ts" */\n')

// new chunks first, stale ones removed last, so that the entries' imports always resolve
mkdirSync('dist/chunks', { recursive: true })
const isEntry = (/** @type {string} */ path) => dirname(path) === 'dist'
for (const path of [...texts.keys()].sort((a, b) => Number(isEntry(a)) - Number(isEntry(b)))) writeFileSync(path, texts.get(path) ?? '')
for (const name of readdirSync('dist/chunks')) if (!texts.has(`dist/chunks/${name}`)) rmSync(`dist/chunks/${name}`)
for (const name of readdirSync('dist')) if (name.endsWith('.js.map') && !texts.has(`dist/${name}`)) rmSync(`dist/${name}`)
await writeWorker()
chmodSync('dist/cli.js', 0o755)
for (const name of ['baseline', 'relaxed']) copyFileSync(`build/${name}.wasm`, `dist/${name}.wasm`)
writeFileSync('dist/third-party-licenses.txt', licenses())

/**
 * A variant of the entry in which some files are replaced. Only these files and their importers are bundled twice;
 * everything else is shared with the other entries.
 * @param {string} name name of the entry; its entry point is given as `path?name`
 * @param {Record<string, string>} replacements by path: a file next to the one it replaces
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

/**
 * Leaves out the WebSockets of Node's adapter, of which nothing is used, and shortens its names: nobody debugs it here.
 * @returns {import('esbuild').Plugin}
 */
function shrunkAdapter() {
  const helper = 'defineWebSocketHelper('
  return {
    name: 'adapter',
    setup(building) {
      building.onLoad({ filter: /@hono[/\\]node-server[/\\]dist[/\\]index[.]mjs$/ }, async ({ path }) => {
        const text = readFileSync(path, 'utf8')
        if (!text.includes(`= ${helper}`)) throw new Error(`${path} makes its WebSockets otherwise than expected`)
        const { code } = await transform(text.replace(`= ${helper}`, `= /* @__PURE__ */ ${helper}`), { minify: true, format: 'esm' })
        return { contents: code, loader: 'js' }
      })
    },
  }
}

/** All files that import some files, directly or not. @param {string[]} files @returns {Promise<Set<string>>} */
async function importersOf(files) {
  const { metafile } = await build({ ...options, entryPoints: ['src/index.ts'] })
  for (const file of files) if (!(file in metafile.inputs)) throw new Error(`src/index.ts leads to no ${file}, which an entry replaces`)
  const found = new Set(files)
  // iterating over a set includes elements added during the iteration
  for (const file of found)
    for (const [importer, { imports }] of Object.entries(metafile.inputs))
      if (imports.some(({ path }) => path === file)) found.add(importer)
  return found
}

/** The code of the threads, as a file that can be hosted. */
async function writeWorker() {
  const { outputFiles } = await build({ entryPoints: ['src/device/wasm/worker-source.ts'], format: 'esm', write: false })
  const { workerSource } = await import(`data:text/javascript,${encodeURIComponent(outputFiles[0]?.text ?? '')}`)
  writeFileSync('dist/worker.js', workerSource.trimStart())
}

/**
 * Reduces a source map to what stack traces need, and removes it if nothing is left.
 * @param {string} path @param {import('./source-maps.mjs').SourceMap} map
 */
function shrinkMap(path, map) {
  const file = path.replace(/[.]map$/, '')
  // a variant's source names begin with its namespace
  const sources = map.sources.map((source) => source.replace(/^\w+:/, `${relative(dirname(path), '')}/`))
  const kept = keepLines({ ...map, sources })
  if (kept.sources.length > 0) texts.set(path, JSON.stringify(kept))
  else {
    texts.delete(path)
    texts.set(file, (texts.get(file) ?? '').replace(/\/\/# sourceMappingURL=.*\n$/, ''))
  }
}

/** @typedef {import('./source-maps.mjs').SourceMap} SourceMap */

/** @param {string} path @param {(map: SourceMap) => SourceMap} change */
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
 * Restores the comments that tell bundlers to leave an optional package's import alone: minification drops them, and
 * webpack would warn every user.
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

/**
 * Removes imports of nothing, which keep the order of evaluation among chunks. No module here has side effects, as
 * package.json says, and bundlers warn every user of each such import that they leave out for that reason.
 */
function dropBareImports() {
  for (const [path, text] of texts) {
    if (!path.endsWith('.js')) continue
    const lines = text.split('\n').map((line, number) => {
      let kept = line
      // the last first, so that the columns of the others stay
      for (const { index, 0: imported } of [...line.matchAll(/(?<=^|;)import"\.[^"]+";/g)].reverse()) {
        kept = kept.slice(0, index) + kept.slice(index + imported.length)
        changeMap(path, (map) => afterInsertion(map, number, index, -imported.length))
      }
      return kept
    })
    texts.set(path, lines.join('\n'))
  }
}

/** The bundled packages of others and their licences. */
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
