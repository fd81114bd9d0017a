/* A page in a Chromium of its own: ours, or wllama. */
import { createReadStream, existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { chromium } from 'playwright-core'
import { chromiumBinary } from '../lib/paths.mjs'
import { serve } from '../lib/serve.mjs'
import { servedFolders } from '../lib/served.mjs'

const types = { js: 'text/javascript', mjs: 'text/javascript', wasm: 'application/wasm', html: 'text/html', json: 'application/json' }

/** Files on a port of this machine, for a page that may share memory between threads. */
async function serveFiles() {
  const folders = servedFolders()
  const server = createServer(({ url = '/' }, response) => {
    const path = decodeURIComponent(url.split('?')[0])
    const [, name, rest] = /^\/([^/]*)\/(.*)$/.exec(path) ?? []
    const folder = folders[name]
    const file = folder + rest
    if (folder === undefined || path.includes('..') || path.endsWith('/') || !existsSync(file)) return response.writeHead(404).end()
    response.writeHead(200, {
      'content-type': types[file.split('.').at(-1)] ?? 'application/octet-stream',
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-embedder-policy': 'require-corp',
    })
    createReadStream(file).pipe(response)
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${server.address().port}`
}

let browser
let page

/** Calls a function of the page's module. */
const ask = (name, ...args) => page.evaluate(([name, args]) => globalThis.runner[name](...args), [name, args])

serve({
  async open({ kind, ...options }) {
    browser = await chromium.launch({
      executablePath: chromiumBinary,
      args: ['--no-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking'],
    })
    page = await browser.newPage()
    await page.goto(`${await serveFiles()}/pages/index.html`)
    const start = performance.now()
    await page.evaluate(async (url) => void (globalThis.runner = await import(url)), `/pages/${kind}.mjs`)
    const info = await ask('open', options)
    return { ...info, loaded: (performance.now() - start) / 1000, chromium: browser.version() }
  },
  prefill: (position) => ask('prefill', position),
  decode: (position, count) => ask('decode', position, count),

  /** Peak resident memory of the page's processes, in bytes. */
  async pageMemory() {
    const session = await browser.newBrowserCDPSession()
    const { processInfo } = await session.send('SystemInfo.getProcessInfo')
    const peaks = processInfo
      .filter(({ type }) => type === 'renderer')
      .map(({ id }) => Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${id}/status`, 'utf8'))[1]))
    return Math.max(...peaks) * 1024
  },
})
