import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { benchAdditions } from '../../../examples/page/bench-additions.mjs'
import { buildPage } from '../../../examples/page/build.mjs'
import { isolation, serveFolder } from '../../../examples/page/serve.mjs'
import { chromium, firefox } from '../lib/browsers.mjs'
import { build, root } from '../lib/paths.mjs'
import { visitPage } from './page.mjs'

const rivals = existsSync(join(root, 'bench/node_modules/.bench-lock.json')) ? undefined : 'node bench/install.mjs (850 MB)'

/** The bench tab of the page's development build: as if no rival were installed, and against them where they are. */
export const pageBenches = [
  bench('page-chromium-bench', chromium, 'The page’s bench without rivals, in Chromium', false),
  bench('page-rivals-chromium', chromium, 'The page’s bench, in Chromium', true),
  bench('page-rivals-firefox', firefox, 'The page’s bench, in Firefox', true),
]

/** @param {string} id @param {import('../lib/browsers.mjs').Browser} browser @param {string} name @param {boolean} hasRivals */
function bench(id, browser, name, hasRivals) {
  return {
    ...{ id, name, missing: browser.missing ?? (hasRivals ? rivals : undefined) },
    async run() {
      const folder = join(build, 'page-bench')
      mkdirSync(folder, { recursive: true })
      await buildPage(folder, { bench: true })
      const behind = await serveFolder(folder, { additions: benchAdditions({ hasRivals }) })
      return visitPage(browser, id, behind, { headers: isolation, statements: 'page-bench-statements.js', facts: { hasRivals } })
    },
  }
}
