import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { chromium, firefox, visit, webkit } from '../lib/browsers.mjs'
import { project } from '../lib/paths.mjs'
import { isolation, serve } from '../lib/server.mjs'

const threaded = { simd: 'relaxed', threads: 2, unavailable: {} }
const headers = 'Cross-Origin-Opener-Policy: same-origin.*Cross-Origin-Embedder-Policy: require-corp'
const notIsolated = { simd: 'relaxed', threads: 1, unavailable: { threads: headers } }
const noRelaxed = { simd: 'baseline', unavailable: { relaxed: 'Chromium and newer Firefox.*have it' } }

/** What a Firefox should use: 140 (ESR) has no relaxed SIMD, 153 has it. @param {typeof threaded | typeof notIsolated} expected */
function inFirefox(expected) {
  if (firefox.missing || parseInt(firefox.version()) > 140) return expected
  return { ...expected, ...noRelaxed, unavailable: { ...expected.unavailable, ...noRelaxed.unavailable } }
}

export const browsers = [
  page('chromium', chromium, 'isolated page', 'page.html', isolation, threaded),
  page('chromium-plain', chromium, 'page that is not isolated', 'page.html', {}, notIsolated),
  page('chromium-worker', chromium, 'Web Worker', 'worker.html', isolation, threaded),
  page('chromium-service-worker', chromium, 'service worker', 'service-worker.html', isolation, {
    ...threaded,
    threads: 1,
    unavailable: { threads: 'service workers cannot' },
  }),
  policy('no-blob', "worker-src 'self'", "script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'"),
  policy('no-wasm', "no 'wasm-unsafe-eval'", "script-src 'self'"),
  page('firefox', firefox, 'isolated page', 'page.html', isolation, inFirefox(threaded)),
  page('firefox-plain', firefox, 'page that is not isolated', 'page.html', {}, inFirefox(notIsolated)),
  page(
    'webkit',
    webkit,
    'page that is not isolated',
    'page.html',
    {},
    { ...noRelaxed, threads: 1, unavailable: { ...noRelaxed.unavailable, threads: headers } },
  ),
  // WebKitGTK has what Safari has by default behind this.
  page('webkit-isolated', { ...webkit, env: { JSC_useSharedArrayBuffer: '1' } }, 'isolated page', 'page.html', isolation, {
    ...noRelaxed,
    threads: 2,
  }),
]

/**
 * @param {string} id
 * @param {import('../lib/browsers.mjs').Browser} browser
 * @param {string} what
 * @param {string} file
 * @param {Record<string, string>} headers
 * @param {object} expected
 */
function page(id, browser, what, file, headers, expected) {
  return {
    id,
    name: `${browser.name}, ${what}`,
    missing: browser.missing,
    async run() {
      const { origin, close } = await serve(project, headers)
      const config = encodeURIComponent(JSON.stringify({ id, data: origin, expected }))
      return visit(browser, id, `${origin}/hosts/${file}?${config}`).finally(close)
    },
  }
}

/** @param {string} name @param {string} what @param {string} contentSecurityPolicy */
function policy(name, what, contentSecurityPolicy) {
  const id = `chromium-${name}`
  return {
    id,
    name: `Chromium, policy with ${what}`,
    missing: chromium.missing,
    async run() {
      const worker = readFileSync(join(project, 'node_modules/routed-attention/dist/worker.js'), 'utf8')
      const scripts = { '/old/worker.js': worker.replace(/version: \d+/, 'version: 0') }
      const { origin, close } = await serve(project, { ...isolation, 'content-security-policy': contentSecurityPolicy }, scripts)
      const config = encodeURIComponent(JSON.stringify({ id, data: origin, policy: name }))
      return visit(chromium, id, `${origin}/hosts/policy.html?${config}`).finally(close)
    },
  }
}
