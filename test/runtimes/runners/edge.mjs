import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { here, installTools, node, project, tool } from '../lib/paths.mjs'
import { execute } from '../lib/processes.mjs'
import { posted, serve } from '../lib/server.mjs'
import { edgeService } from './edge-service.mjs'

const node24 = node(24)
const wrangler = tool('wrangler/bin/wrangler.js')
const missing = node24 && wrangler && tool('miniflare/package.json') ? undefined : installTools
const expected = { simd: 'relaxed', threads: 1, unavailable: { threads: 'edge workers.*cannot' } }

export const edges = [
  {
    id: 'workerd',
    name: 'workerd, bundled by esbuild',
    missing,
    run: () =>
      runBundled('workerd', '', expected, async (folder) => {
        await esbuild('hosts/edge.js', join(folder, 'edge.js'), ['--conditions=workerd'])
        return join(folder, 'edge.js')
      }),
  },
  {
    id: 'workerd-wrangler',
    name: 'workerd, bundled by wrangler',
    missing,
    run: () =>
      // What wrangler's own templates turn on: an engine that says it is Node, and has Node's modules, an empty file
      // system among them.
      runBundled('workerd-wrangler', 'nodejs_compat', { ...expected, noFolder: ['BAD_FILE', 'config\\.json'] }, async (folder) => {
        const config = {
          name: 'edge',
          main: join(project, 'hosts/edge.js'),
          compatibility_date: '2026-01-01',
          compatibility_flags: ['nodejs_compat'],
        }
        writeFileSync(join(folder, 'wrangler.json'), JSON.stringify(config))
        const args = [wrangler, 'deploy', '--dry-run', '--outdir', join(folder, 'out'), '--config', join(folder, 'wrangler.json')]
        await execute(/** @type {string} */ (node24), /** @type {string[]} */ (args), {
          cwd: project,
          env: { ...process.env, WRANGLER_SEND_METRICS: 'false', CI: '1' },
        })
        return join(folder, 'out/edge.js')
      }),
  },
  {
    id: 'workerd-batch',
    name: 'workerd, many clients',
    missing,
    async run() {
      const entry = join(makeFolder('workerd-batch'), 'edge.js')
      await esbuild('hosts/edge-batch.js', entry, ['--conditions=workerd'])
      const { origin, close } = await serve(project)
      const model = `${origin}/models/novels-10m/`
      const args = [join(here, 'lib/edge-batch.mjs'), entry, model]
      const answer = await execute(/** @type {string} */ (node24), args).finally(close)
      return { version: version(), results: JSON.parse(answer) }
    },
  },
  {
    id: 'workerd-condition',
    name: 'workerd, without the condition',
    missing,
    async run() {
      const entry = join(makeFolder('workerd-condition'), 'edge.js')
      await esbuild('hosts/edge-without-condition.js', entry, [])
      const answer = await miniflare(entry, '', '')
      const right = /^UNSUPPORTED .*`workerd`.*`wasm`/.test(answer)
      return {
        version: version(),
        results: [{ name: 'is told to bundle with the condition', ...(!right && { error: `it answered ${answer}` }) }],
      }
    },
  },
  ...edgeService,
]

/**
 * @param {string} id
 * @param {string} flags
 * @param {object} expected
 * @param {(folder: string) => Promise<string>} bundle
 */
async function runBundled(id, flags, expected, bundle) {
  const entry = await bundle(makeFolder(id))
  const { origin, close } = await serve(project)
  /** @type {{ results: { name: string, error?: string }[] } | undefined} */
  let outcome
  void posted(id).then((posts) => (outcome = posts))
  const answer = await miniflare(entry, flags, JSON.stringify({ id, data: origin, expected })).finally(close)
  return { version: version(), results: outcome?.results ?? [{ name: 'runs to its end', error: `it answered ${answer}` }] }
}

/** @param {string} entry @param {string} outfile @param {string[]} options */
function esbuild(entry, outfile, options) {
  const args = [entry, '--bundle', '--format=esm', '--loader:.wasm=copy', `--outfile=${outfile}`, ...options]
  return execute(join(here, 'node_modules/.bin/esbuild'), args, { cwd: project })
}

/** @param {string} entry @param {string} flags @param {string} body */
const miniflare = (entry, flags, body) => execute(/** @type {string} */ (node24), [join(here, 'lib/miniflare.mjs'), entry, flags, body])

/** @param {string} name */
function makeFolder(name) {
  const folder = join(project, 'edge', name)
  mkdirSync(folder, { recursive: true })
  return folder
}

const version = () => JSON.parse(readFileSync(/** @type {string} */ (tool('workerd/package.json')), 'utf8')).version
