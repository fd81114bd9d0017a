import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { chromium, visit } from '../lib/browsers.mjs'
import { parseHeaders, readDocument } from '../lib/documents.mjs'
import { here, installTools, node, project, tool } from '../lib/paths.mjs'
import { execute } from '../lib/processes.mjs'
import { runDenoDeploy } from './deno-deploy.mjs'
import { runFunctions } from './functions.mjs'
import { isolation, serve } from '../lib/server.mjs'

const tools = node(24) && tool('wrangler/package.json') ? undefined : installTools
const browser = chromium.missing ?? tools
/** What the model writes after "The old captain", greedily; each page shows or prints it. */
const text = ', and the old man, and the old man'
const headersAreNamed = 'Cross-Origin-Opener-Policy'

/** Tools as a reader would call them: those installed here, under Node 24. */
const environment = () => ({
  ...process.env,
  PATH: [
    dirname(String(node(24))),
    dirname(String(tool('@deno/linux-x64-glibc/deno'))),
    dirname(String(tool('@oven/bun-linux-x64/bin/bun'))),
    join(here, 'node_modules/.bin'),
    process.env.PATH,
  ].join(':'),
  WRANGLER_SEND_METRICS: 'false',
})

/** @typedef {{ name: string, error?: string }} Result */

/** Continues the text of the React page, as a reader does. */
const reactRoot = `import { createRoot } from 'react-dom/client'
import Page from './page.jsx'
createRoot(document.getElementById('root')).render(<Page />)
const timer = setInterval(() => {
  const button = document.querySelector('button')
  if (!button) return
  clearInterval(timer)
  button.click()
}, 50)
`

/** Every snippet of docs/platforms, and the page of docs/ai-sdk.md, executed. */
export const documents = [
  document('node', undefined, async ({ folder }) => [
    await prints('main.mjs', process.execPath, ['main.mjs'], folder, `${text}.*\n\\d+ threads\n$`),
    await prints('main.cjs', process.execPath, ['main.cjs'], folder, '^2\n$'),
  ]),
  document('deno', tools, ({ folder, commands }) => runCommands(commands, folder, `${text}.*\n\\d+ threads\n$`)),
  document('bun', tools, ({ folder, commands }) => runCommands(commands, folder, `${text}.*\n\\d+ threads\n$`)),
  document('browser', browser, async ({ folder, snippets }) => {
    writeFileSync(join(folder, 'policy.html'), '<!doctype html>\n<body><script type="module" src="main.js"></script></body>\n')
    const headers = parseHeaders(snippets.headers)
    return [
      await shows('browser', folder, 'index.html', headers, `${text}.*\\[threads\\]`),
      await shows('browser', folder, 'index.html', {}, `${text}.*\\[.*${headersAreNamed}`),
      await shows('browser', folder, 'policy.html', { ...headers, ...parseHeaders(snippets.policy) }, '^threads from a hosted file$'),
    ]
  }),
  document('worker', browser, async ({ folder }) => {
    writeFileSync(join(folder, 'index.html'), '<!doctype html>\n<body><script type="module" src="page.js"></script></body>\n')
    return [
      await shows('worker', folder, 'index.html', isolation, `${text}.*\\[threads\\]`),
      await shows('worker', folder, 'index.html', {}, `${text}.*\\[.*${headersAreNamed}`),
    ]
  }),
  document('edge', tools, async ({ folder, commands }) => {
    const results = await runCommands(commands, folder)
    const { origin, close } = await serve(project)
    const request = JSON.stringify({ prompt: 'The old captain' })
    const bindings = JSON.stringify({ MODEL: new URL('models/novels-10m/', origin) })
    for (const out of ['out', 'out-esbuild']) {
      const args = [join(here, 'lib/miniflare.mjs'), join(folder, out, 'worker.js'), '', request, bindings]
      results.push(await prints(`${out}/worker.js`, String(node(24)), args, folder, `${text}.*"simd":"relaxed"`))
    }
    close()
    return results
  }),
  document('deno-deploy', tools, runDenoDeploy),
  document('functions', tools, runFunctions),
  document('webgpu', browser, async ({ folder, commands }) => [
    ...(await runCommands(commands, folder, `${text}.*\n(computed on|no GPU:) .+\n$`)),
    await shows('webgpu', folder, 'index.html', isolation, `${text}.*\\[(computed on|no GPU:) .+\\]`),
  ]),
  document('bundlers', browser, async ({ folder, commands }) => {
    const results = await runCommands(commands, folder)
    for (const [bundler, script] of Object.entries({ esbuild: 'main.js', webpack: 'main.js', rollup: 'main.js', vite: '' })) {
      const site = join(folder, bundler)
      if (script) writeFileSync(join(site, 'index.html'), readFileSync(join(folder, 'index.html')))
      results.push(await shows(`bundlers-${bundler}`, site, 'index.html', isolation, `${text}.*\\[threads\\]`))
    }
    return results
  }),
  document(
    'ai-sdk',
    browser,
    async ({ folder }) => {
      writeFileSync(join(folder, 'root.jsx'), reactRoot)
      writeFileSync(
        join(folder, 'index.html'),
        '<!doctype html>\n<body><div id="root"></div><script type="module" src="root.js"></script></body>\n',
      )
      const args = ['root.jsx', '--bundle', '--format=esm', '--jsx=automatic', '--define:process.env.NODE_ENV="production"', '--outdir=.']
      await execute(join(here, 'node_modules/.bin/esbuild'), args, {
        cwd: folder,
        env: { ...process.env, NODE_PATH: join(here, 'node_modules') },
      })
      return [await shows('ai-sdk', folder, 'index.html', {}, '^The old captain.{60,}Continue$')]
    },
    'ai-sdk',
  ),
]

/**
 * @param {string} page
 * @param {string | undefined} missing
 * @param {(document: ReturnType<typeof readDocument>) => Promise<Result[]>} run
 * @param {string} path below docs/, without its extension
 */
function document(page, missing, run, path = `platforms/${page}`) {
  return { id: `documents-${page}`, name: `docs/${path}.md`, missing, run: async () => ({ results: await run(readDocument(path)) }) }
}

/** @param {string[]} commands @param {string} cwd @param {string} [expected] */
async function runCommands(commands, cwd, expected = '') {
  const results = []
  for (const command of commands) results.push(await prints(command, 'sh', ['-c', command], cwd, expected))
  return results
}

/**
 * @param {string} name
 * @param {string} command
 * @param {string[]} args
 * @param {string} cwd
 * @param {string} expected
 * @returns {Promise<Result>}
 */
async function prints(name, command, args, cwd, expected) {
  const result = { name: `${name} does what the page says` }
  try {
    const printed = await execute(command, args, { cwd, env: command === process.execPath ? process.env : environment() })
    return new RegExp(expected, 's').test(printed) ? result : { ...result, error: `it printed "${printed}", expected ${expected}` }
  } catch (error) {
    return { ...result, error: String(error) }
  }
}

/**
 * @param {string} id @param {string} folder @param {string} file @param {Record<string, string>} headers
 * @param {string} expected @returns {Promise<Result>}
 */
async function shows(id, folder, file, headers, expected) {
  const name = `${file} shows ${expected}`
  const page = readFileSync(join(folder, file), 'utf8')
  const { origin, close } = await serve(folder, headers)
  const config = encodeURIComponent(JSON.stringify({ id, data: origin, name, expected }))
  // Before the page's own: webpack takes a module's folder to be that of the last script there is.
  const observer = `<script type="module" src="/hosts/observe.js?${config}"></script>\n`
  writeFileSync(
    join(folder, `observed-${file}`),
    page.replace('<script type="module"', (script) => observer + script),
  )
  const { results } = await visit(chromium, id, `${origin}/observed-${file}`).finally(close)
  return results[0] ?? { name, error: 'nothing was posted' }
}
