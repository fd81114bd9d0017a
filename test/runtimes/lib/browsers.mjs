import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { firstThatExists } from './paths.mjs'
import { start } from './processes.mjs'
import { posted } from './server.mjs'

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

/**
 * Opens a page that posts what it found.
 * @param {Browser} browser @param {string} id what it posts under @param {string} url
 */
export async function visit(browser, id, url) {
  const profile = mkdtempSync(join(tmpdir(), 'routed-attention-browser-'))
  const [command, args] = browser.command(url, profile)
  const results = posted(id)
  const screen = browser.screen ? await openScreen() : undefined
  const child = start(command, args, { env: { ...process.env, ...browser.env, ...(screen && { DISPLAY: screen.DISPLAY }) } })
  const died = child.ended.then(() => ({
    results: [{ name: 'runs to its end', error: `${browser.name} ended, or took too long:\n${child.output().slice(-2000)}` }],
  }))
  const outcome = await Promise.race([results, died])
  await child.end()
  screen?.close()
  rmSync(profile, { recursive: true, force: true, maxRetries: 5 })
  return { version: browser.version(), results: outcome.results }
}
