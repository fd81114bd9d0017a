// @ts-check
/*
 * Serves the example to browsers on this machine, with the headers for cross-origin isolation, which threads require.
 *
 *   node examples/browser/serve.mjs [port]
 */
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { createServer } from 'node:http'
import { extname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))
const page = '/examples/browser/'
/** The only files of the repository that are served. */
const served = /^\/(examples\/browser|dist|models)\//
/** @type {Record<string, string>} */
const types = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
}

const server = createServer(async (request, response) => {
  let path
  try {
    path = normalize(decodeURIComponent(new URL(request.url ?? '/', 'http://localhost').pathname)).replaceAll('\\', '/')
  } catch {
    return response.writeHead(400).end()
  }
  if (path === '/') return response.writeHead(302, { location: page }).end()
  const file = join(root, path === page ? `${page}index.html` : path)
  const found = served.test(path) ? await stat(file).catch(() => undefined) : undefined
  if (!found?.isFile()) return response.writeHead(404).end()
  response.writeHead(200, {
    'content-type': types[extname(file)] ?? 'application/octet-stream',
    'content-length': found.size,
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-embedder-policy': 'require-corp',
  })
  createReadStream(file).on('error', () => response.destroy()).pipe(response) // prettier-ignore
})
server.listen(Number(process.argv[2] ?? 8081), '127.0.0.1', () => {
  const address = /** @type {import('node:net').AddressInfo} */ (server.address())
  console.log(`open http://localhost:${address.port}${page}`)
})
