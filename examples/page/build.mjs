// @ts-check
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const here = fileURLToPath(new URL('.', import.meta.url))
const root = join(here, '../..')
const model = join(root, 'models/novels-10m-v2-int8')
const book = join(root, 'models/novels-10m/treasure-island.txt')

/**
 * How the page's scripts and styles are bundled.
 * @type {import('esbuild').BuildOptions}
 */
export const bundling = {
  bundle: true,
  format: 'esm',
  target: 'es2022',
  minify: true,
  legalComments: 'none',
  logLevel: 'warning',
  // chunks of the package that have no effect of their own
  logOverride: { 'ignored-bare-import': 'silent' },
  // what is published, not its sources
  alias: { 'routed-attention': join(root, 'dist/index.js') },
  external: ['node:*'],
  tsconfigRaw: {},
  define: { MODEL_URL: JSON.stringify(`./models/${basename(model)}/`) },
}

/**
 * Writes the page as static files: any host serves them.
 * @param {string} folder
 * @param {{ bench?: boolean }} [options] bench: whether it has the bench tab, which needs the development server
 */
export async function buildPage(folder, { bench = false } = {}) {
  if (!existsSync(join(model, 'model.safetensors')) || !existsSync(join(root, 'dist/index.js')))
    throw new Error('the package and its model are not built: npm run build')
  mkdirSync(join(folder, 'texts'), { recursive: true })
  await build({
    ...bundling,
    outdir: folder,
    entryPoints: {
      main: join(here, 'src/main.ts'),
      worker: join(here, 'src/engine/worker.ts'),
      page: join(here, bench ? 'src/bench/styles/page.css' : 'src/styles/page.css'),
    },
    define: { ...bundling.define, BENCH: String(bench) },
  })
  cpSync(join(here, 'static'), folder, { recursive: true })
  for (const name of ['config.json', 'tokenizer.json', 'model.safetensors', 'LICENSE'])
    cpSync(join(model, name), join(folder, 'models', basename(model), name))
  // the loader asks for it; a host that has none would write an error in every visitor's console
  writeFileSync(join(folder, 'models', basename(model), 'generation_config.json'), '{}')
  const text = readFileSync(book, 'utf8')
  cpSync(book, join(folder, 'texts/treasure-island.txt'))
  writeFileSync(join(folder, 'texts/treasure-island-opening.txt'), openingOf(text))
  await build({
    ...bundling,
    outdir: folder,
    entryPoints: [join(here, 'src/service-worker.ts')],
    define: { FILES: JSON.stringify(['./', './index.html', ...ownFiles]) },
  })
}

/** What the page needs without a network, besides itself and the model. */
const ownFiles = ['main.js', 'worker.js', 'page.css', 'icon.svg', 'texts/treasure-island-opening.txt', 'texts/treasure-island.txt']

/**
 * The first pages of the first chapter, up to a sentence's middle, where the model is to go on.
 * @param {string} text
 */
function openingOf(text) {
  const start = text.indexOf('SQUIRE TRELAWNEY')
  const end = text.indexOf('But though I was so terrified', start)
  if (start < 0 || end < 0) throw new Error(`${book} does not begin as expected`)
  return text.slice(start, end).trimEnd()
}
