import { mkdirSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { chromium, visit } from '../lib/browsers.mjs'
import { build, here, installTools, model, node, project, tool } from '../lib/paths.mjs'
import { executeWithWarnings } from '../lib/processes.mjs'
import { isolation, serve } from '../lib/server.mjs'
import { runProcess } from './processes.mjs'

const node24 = node(24)
const page = 'page.js'
/** Two of the four bundle a worker that a page starts. */
const pageWithWorker = 'page-with-worker.js'

/**
 * Each bundles a page of hosts/ with its defaults, in a folder of its own, and leaves a site to be served.
 * @type {Record<string, (folder: string, page: string) => Promise<string>>}
 */
const bundlers = {
  async esbuild(folder, page) {
    refuseWarnings(
      await executeWithWarnings(join(here, 'node_modules/.bin/esbuild'), [`hosts/${page}`, '--bundle', `--outfile=${folder}/main.js`], {
        cwd: project,
      }),
    )
    write(folder, 'index.html', '<!doctype html><script src="main.js"></script>')
    return folder
  },
  async vite(folder, page) {
    write(folder, 'index.html', '<!doctype html><script type="module" src="/main.js"></script>')
    write(folder, 'main.js', importPage(folder, page))
    await runTool('vite/bin/vite.js', ['build'], folder)
    return join(folder, 'dist')
  },
  async webpack(folder, page) {
    write(folder, 'src/index.js', importPage(join(folder, 'src'), page))
    await runTool('webpack/bin/webpack.js', [], folder)
    write(folder, 'dist/index.html', '<!doctype html><script src="main.js"></script>')
    return join(folder, 'dist')
  },
  // Rollup itself finds no packages; this plugin with its defaults is what its guide begins with.
  async rollup(folder, page) {
    const plugin = /** @type {string} */ (tool('@rollup/plugin-node-resolve/dist/es/index.js'))
    await runTool('rollup/dist/bin/rollup', [join(project, 'hosts', page), '--dir', folder, '--plugin', plugin], folder)
    write(folder, 'index.html', '<!doctype html><script type="module" src="page.js"></script>')
    return folder
  },
}

export const bundled = [
  ...Object.keys(bundlers).map((bundler) => site(bundler, bundler, page)),
  ...['vite', 'webpack'].map((bundler) => site(`${bundler}-worker`, bundler, pageWithWorker)),
  {
    id: 'esbuild-node',
    name: 'Node 24, bundled by esbuild as CommonJS',
    missing: node24 && tool('esbuild/package.json') ? undefined : installTools,
    async run() {
      const file = join(makeFolder('esbuild-node'), 'main.cjs')
      const args = ['hosts/process.mjs', '--bundle', '--platform=node', `--outfile=${file}`]
      refuseWarnings(await executeWithWarnings(join(here, 'node_modules/.bin/esbuild'), args, { cwd: project }))
      const sqlite = { files: join(build, 'esbuild-node'), isThere: true }
      const host = { id: 'esbuild-node', folder: model, expected: { simd: 'relaxed', threads: 2, unavailable: {} }, sqlite }
      return runProcess(/** @type {string} */ (node24), [file], host)
    },
  },
]

/** @param {string} id @param {string} bundler @param {string} page */
function site(id, bundler, page) {
  return {
    id,
    name: `Chromium${page === pageWithWorker ? ', Web Worker' : ''}, bundled by ${bundler}`,
    missing: node24 && tool(`${bundler}/package.json`) ? chromium.missing : installTools,
    async run() {
      const folder = await /** @type {NonNullable<typeof bundlers[string]>} */ (bundlers[bundler])(makeFolder(id), page)
      const { origin, close } = await serve(folder, isolation)
      const config = encodeURIComponent(JSON.stringify({ id, data: origin, expected: { simd: 'relaxed', threads: 2, unavailable: {} } }))
      return visit(chromium, id, `${origin}/?${config}`).finally(close)
    },
  }
}

/** @param {string} id */
function makeFolder(id) {
  const folder = join(project, 'bundles', id)
  mkdirSync(folder, { recursive: true })
  return folder
}

/** @param {string} folder @param {string} name @param {string} text */
function write(folder, name, text) {
  mkdirSync(join(folder, name, '..'), { recursive: true })
  writeFileSync(join(folder, name), text)
}

/** @param {string} from @param {string} page */
const importPage = (from, page) => `import '${relative(from, join(project, 'hosts', page))}'\n`

/** @param {string} script @param {string[]} args @param {string} cwd */
const runTool = async (script, args, cwd) =>
  refuseWarnings(await executeWithWarnings(/** @type {string} */ (node24), [/** @type {string} */ (tool(script)), ...args], { cwd }))

/** Warnings of the four bundlers about what they bundle, each in its own form. @param {string} output */
function refuseWarnings(output) {
  if (/\[WARNING\]|WARNING in [.]|\(!\)|\bwarning\b.*(?:import|analy)/im.test(output))
    throw new Error(`it was bundled with a warning:\n${output}`)
}
