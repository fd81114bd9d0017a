import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { firstThatExists } from './paths.mjs'
import { start } from './processes.mjs'
import { createPatientServer, posted } from './server.mjs'

/**
 * @typedef {{ name: string, missing: string | undefined, version: () => string, screen?: boolean, env?: Record<string,
 * string>, command: (url: string, profile: string) => [string, string[]] }} Browser
 */

const chromiumBinary = firstThatExists(process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/google-chrome')
const firefoxBinary = firstThatExists(process.env.FIREFOX, '/usr/bin/firefox-esr', '/usr/bin/firefox')
const webkitBinary = firstThatExists(process.env.WEBKIT, '/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser')
const xvfb = firstThatExists('/usr/bin/Xvfb')

/** @param {string | undefined} binary */
const versionOf = (binary) => /\d+[\d.]*\w*/.exec(spawnSync(binary ?? '', ['--version'], { encoding: 'utf8' }).stdout ?? '')?.[0] ?? ''

/** @type {Browser} */
export const chromium = {
  name: 'Chromium',
  missing: chromiumBinary ? undefined : 'apt-get install chromium, or CHROMIUM=path',
  version: () => versionOf(chromiumBinary),
  command: (url, profile) => [
    /** @type {string} */ (chromiumBinary),
    [
      ...[
        '--headless',
        '--no-sandbox',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
      ],
      ...['--disable-sync', '--disable-dev-shm-usage', '--remote-debugging-port=0', `--user-data-dir=${profile}`, url],
    ],
  ],
}

/** With WebGPU, by its own software driver where there is no GPU. @type {Browser} */
export const chromiumWithWebGpu = {
  ...chromium,
  command(url, profile) {
    const [binary, args] = chromium.command(url, profile)
    return [binary, ['--enable-unsafe-webgpu', ...args]]
  },
}

/** @type {Browser} */
export const firefox = {
  name: 'Firefox',
  missing: firefoxBinary ? undefined : 'apt-get install firefox-esr, or FIREFOX=path',
  version: () => versionOf(firefoxBinary),
  command: (url, profile) => [/** @type {string} */ (firefoxBinary), ['--headless', '--no-remote', '--profile', profile, url]],
}

/** @type {Browser} */
export const webkit = {
  name: 'WebKit',
  missing: webkitBinary && xvfb ? undefined : 'apt-get install webkit2gtk-driver xvfb, or WEBKIT=path of MiniBrowser',
  version: () =>
    spawnSync('dpkg-query', ['-W', '-f', '${Version}', 'libwebkit2gtk-4.1-0'], { encoding: 'utf8' }).stdout?.replace(/-.*/, '') ?? '',
  screen: true,
  command: (url) => [/** @type {string} */ (webkitBinary), ['--private', url]],
}

/**
 * A screen for a browser that has no other way: its name, and its end. (xvfb-run does the same, but may wait for ever
 * for a signal that it missed.)
 */
async function openScreen() {
  const server = spawn(/** @type {string} */ (xvfb), ['-displayfd', '3', '-nolisten', 'tcp', '-noreset'], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
  })
  const [number] = await once(/** @type {import('node:stream').Readable} */ (server.stdio[3]), 'data')
  return { DISPLAY: `:${String(number).trim()}`, close: () => server.kill() }
}

/** Longest that a browser may take from its start to its first request, in milliseconds, and how often it is started. */
const START_LIMIT = 150_000
const STARTS = 3

/**
 * Opens a page that posts what it found. A browser that ends or hangs before it has asked for the page is started again,
 * and that is said: nothing was tested then. What happens behind its first request counts.
 * @param {Browser} browser @param {string} id what it posts under @param {string} url
 * @returns {Promise<{ version: string, results: { name: string, error?: string }[] }>}
 */
export async function visit(browser, id, url) {
  for (let starts = 1; ; starts++) {
    const { hasAsked, outcome, output } = await visitOnce(browser, id, url)
    const version = browser.version()
    if (outcome) return { version, results: outcome.results }
    if (hasAsked || starts === STARTS) {
      const error = `${browser.name} ${hasAsked ? '' : `asked for no page in ${STARTS} starts, and `}${output}`
      return { version, results: [{ name: 'runs to its end', error }] }
    }
    console.log(`        ${browser.name} asked for no page, and is started again; it ${output}`)
  }
}

/** @param {Browser} browser @param {string} id @param {string} url */
async function visitOnce(browser, id, url) {
  const profile = mkdtempSync(join(tmpdir(), 'routed-attention-browser-'))
  const door = await openDoor(url)
  const [command, args] = browser.command(door.origin, profile)
  const results = posted(id)
  const screen = browser.screen ? await openScreen() : undefined
  const child = start(command, args, { env: { ...process.env, ...browser.env, ...(screen && { DISPLAY: screen.DISPLAY }) } })
  let hasAsked = false
  void door.asked.then(() => (hasAsked = true))
  const late = setTimeout(() => hasAsked || void child.end(), START_LIMIT)
  const outcome = await Promise.race([results, child.ended.then(() => undefined)])
  clearTimeout(late)
  await child.end()
  door.close()
  screen?.close()
  try {
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 })
  } catch (error) {
    // a process that the browser left behind may write there still, which is no fault of the page
    console.log(`        ${profile} is left: ${error instanceof Error ? error.message : error}`)
  }
  return { hasAsked, outcome, output: `${child.ending()}:\n${child.output().slice(-2000)}` }
}

/** What a browser asks for first, which sends it to a page. @param {string} url */
async function openDoor(url) {
  /** @type {() => void} */
  let tell = () => {}
  const asked = new Promise((resolve) => (tell = () => resolve(undefined)))
  const server = createPatientServer(async (request, response) => {
    if (request.url === '/') tell()
    response.writeHead(302, { location: url }).end()
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)))
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  const close = () => {
    server.closeAllConnections()
    server.close()
  }
  return { origin: `http://127.0.0.1:${port}/`, asked, close }
}
