import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { buildPage } from '../../../examples/page/build.mjs'
import { isolation, serveFolder } from '../../../examples/page/serve.mjs'
import { chromium, firefox, visit } from '../lib/browsers.mjs'
import { writeOwnModels } from '../lib/own-models.mjs'
import { build, here } from '../lib/paths.mjs'
import { createPatientServer, receive } from '../lib/server.mjs'

/** The page of examples/page: as its own server serves it, and as a host does that sends no headers and then goes away. */
export const pages = [
  page('page-chromium', chromium, 'The page, in Chromium', isolation, false),
  page('page-chromium-offline', chromium, 'The page, in Chromium, from a host without headers', {}, true),
  page('page-firefox', firefox, 'The page, in Firefox', isolation, false),
]

/**
 * @param {string} id @param {import('../lib/browsers.mjs').Browser} browser @param {string} name
 * @param {Record<string, string>} headers @param {boolean} offline
 */
function page(id, browser, name, headers, offline) {
  return {
    id,
    name,
    missing: browser.missing,
    async run() {
      const folder = join(build, 'page')
      mkdirSync(folder, { recursive: true })
      await buildPage(folder)
      const behind = await serveFolder(folder, { headers })
      const own = join(build, 'own-models')
      await writeOwnModels(own)
      // of other origins: one lets this page read, one does not
      const others = await Promise.all([{ 'access-control-allow-origin': '*' }, {}].map((headers) => serveFolder(own, { headers })))
      const facts = { offline, others: others.map(({ origin }) => origin) }
      try {
        return await visitPage(browser, id, behind, { headers, statements: 'page-statements.js', facts })
      } finally {
        others.forEach(close)
      }
    },
  }
}

/**
 * Lets a script of hosts/ use a page as a visitor does.
 * @param {import('../lib/browsers.mjs').Browser} browser @param {string} id
 * @param {Awaited<ReturnType<typeof serveFolder>>} behind which serves the page; it is closed in the end
 * @param {{ headers: Record<string, string>, statements: string, facts: object }} options facts: what the script is told
 */
export async function visitPage(browser, id, behind, { headers, statements, facts }) {
  behind.keepAliveTimeout = 0 // as of the server in front
  const front = await inFrontOf(behind.origin, { id, headers, statements, facts })
  try {
    return await visit(browser, id, front.origin)
  } finally {
    close(behind)
    close(front.server)
  }
}

/** @param {import('node:http').Server} server */
function close(server) {
  server.closeAllConnections()
  server.close()
}

/**
 * A server that adds the statements to the page, takes what they post, and after `POST /offline` answers for the
 * page no longer.
 * @param {string} origin
 * @param {{ id: string, headers: Record<string, string>, statements: string, facts: object }} options
 */
async function inFrontOf(origin, { id, headers, statements, facts }) {
  let isOffline = false
  const server = createPatientServer(async (request, response) => {
    const { pathname } = new URL(request.url ?? '/', origin)
    if (request.method === 'POST') {
      if (pathname === '/offline') isOffline = true
      else await receive(request)
      return response.writeHead(204, headers).end()
    }
    if (pathname.startsWith('/hosts/'))
      return response
        .writeHead(200, { ...headers, 'content-type': 'text/javascript' })
        .end(readFileSync(join(here, 'hosts', pathname.slice('/hosts/'.length))))
    if (isOffline) return response.destroy()
    const answer = await fetch(origin + pathname, { method: request.method ?? 'GET' })
    // the length is no longer that of the file
    response.writeHead(answer.status, Object.fromEntries([...answer.headers].filter(([name]) => name !== 'content-length')))
    if (pathname !== '/') return response.end(Buffer.from(await answer.arrayBuffer()))
    const config = encodeURIComponent(JSON.stringify({ id, data: `http://${request.headers.host}/`, ...facts }))
    return response.end(
      (await answer.text()).replace('</head>', `<script type="module" src="/hosts/${statements}?${config}"></script></head>`),
    )
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)))
  return { server, origin: `http://localhost:${/** @type {import('node:net').AddressInfo} */ (server.address()).port}` }
}
