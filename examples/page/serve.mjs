// @ts-check
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { createServer } from 'node:http'
import { extname, join, normalize } from 'node:path'

/** @type {Record<string, string>} */
const types = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.wasm': 'application/wasm',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.json': 'application/json',
  '.webmanifest': 'application/manifest+json',
  '.txt': 'text/plain; charset=utf-8',
}

/** What makes a page isolated from other origins, which threads require. */
export const isolation = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' }

/**
 * Other folders by the path that they are served under, '/bench/dist/', and what is answered as JSON, by its path.
 * @typedef {{ folders: Record<string, string>, answers: Record<string, () => unknown> }} Additions
 */

/**
 * Serves a folder to browsers on this machine.
 * @param {string} folder
 * @param {{ port?: number, headers?: Record<string, string>, additions?: Additions }} [options] port: any free one if 0
 * @returns {Promise<import('node:http').Server & { origin: string }>}
 */
export async function serveFolder(folder, { port = 0, headers = isolation, additions = { folders: {}, answers: {} } } = {}) {
  const server = createServer((request, response) => void answer(request, response).catch(() => response.destroy()))

  /** @param {import('node:http').IncomingMessage} request @param {import('node:http').ServerResponse} response */
  async function answer(request, response) {
    let path
    try {
      path = normalize(decodeURIComponent(new URL(request.url ?? '/', 'http://localhost').pathname)).replaceAll('\\', '/')
    } catch {
      return void response.writeHead(400).end()
    }
    const json = additions.answers[path]
    if (json) {
      const { status, body } = await answered(json)
      response.writeHead(status, { 'content-type': types['.json'], 'cache-control': 'no-cache', ...headers })
      return void response.end(JSON.stringify(body))
    }
    const [prefix, added] = Object.entries(additions.folders).find(([prefix]) => path.startsWith(prefix)) ?? ['/', folder]
    const file = join(added, path.endsWith('/') ? `${path}index.html` : path.slice(prefix.length))
    const found = await stat(file).catch(() => undefined)
    if (!found?.isFile()) return void response.writeHead(404, headers).end()
    response.writeHead(200, {
      'content-type': types[extname(file)] ?? 'application/octet-stream',
      'content-length': found.size,
      'last-modified': found.mtime.toUTCString(),
      'cache-control': 'no-cache',
      ...headers,
    })
    if (request.method === 'HEAD') return void response.end()
    createReadStream(file).on('error', () => response.destroy()).pipe(response) // prettier-ignore
  }

  await new Promise((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', () => resolve(undefined)))
  const address = /** @type {import('node:net').AddressInfo} */ (server.address())
  return Object.assign(server, { origin: `http://localhost:${address.port}` })
}

/** @param {() => unknown} json @returns {Promise<{ status: number, body: unknown }>} */
async function answered(json) {
  try {
    return { status: 200, body: await json() }
  } catch (error) {
    return { status: 500, body: { error: String(error) } }
  }
}
