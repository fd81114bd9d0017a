// @ts-check
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { createServer } from 'node:http'
import { extname, join, normalize } from 'node:path'

/** @type {Record<string, string>} */
const types = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.json': 'application/json',
  '.webmanifest': 'application/manifest+json',
  '.txt': 'text/plain; charset=utf-8',
}

/** What makes a page isolated from other origins, which threads require. */
export const isolation = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' }

/**
 * Serves a folder to browsers on this machine.
 * @param {string} folder
 * @param {{ port?: number, headers?: Record<string, string> }} [options] port: any free one if 0
 * @returns {Promise<import('node:http').Server & { origin: string }>}
 */
export async function serveFolder(folder, { port = 0, headers = isolation } = {}) {
  const server = createServer((request, response) => void answer(request, response).catch(() => response.destroy()))

  /** @param {import('node:http').IncomingMessage} request @param {import('node:http').ServerResponse} response */
  async function answer(request, response) {
    let path
    try {
      path = normalize(decodeURIComponent(new URL(request.url ?? '/', 'http://localhost').pathname)).replaceAll('\\', '/')
    } catch {
      return void response.writeHead(400).end()
    }
    const file = join(folder, path.endsWith('/') ? `${path}index.html` : path)
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
