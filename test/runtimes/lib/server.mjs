import { createReadStream } from 'node:fs'
import { mkdir, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { extname, join, normalize } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { model, project, root, sessions } from './paths.mjs'

export const isolation = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' }

/** @type {Record<string, string>} */
const types = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
}

/** What hosts have posted, and who waits for it, by the host's id. @type {Map<string, (posted: any) => void>} */
const waiting = new Map()

/**
 * What a host will post.
 * @param {string} id
 * @returns {Promise<{ results: { name: string, error?: string }[], userAgent?: string }>}
 */
export const posted = (id) => new Promise((resolve) => waiting.set(id, resolve))

/** Takes what a host posts: a session, or its results. @param {import('node:http').IncomingMessage} request */
export async function receive(request) {
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  const [, kind, id = ''] = normalize(new URL(request.url ?? '/', 'http://localhost').pathname)
    .replaceAll('\\', '/')
    .split('/')
  if (kind === 'sessions') {
    await mkdir(sessions, { recursive: true })
    await writeFile(join(sessions, id), Buffer.concat(chunks))
  } else waiting.get(id)?.(JSON.parse(Buffer.concat(chunks).toString()))
}

/** Where everything but a site's own files is: the installed package too. @param {string} path */
function sharedFile(path) {
  if (path.startsWith('/golden/')) return join(root, 'test', path)
  if (path.startsWith('/models/novels-10m/')) return join(model, path.slice('/models/novels-10m/'.length))
  if (/^\/(node_modules\/routed-attention(-novels-10m)?|hosts)\//.test(path)) return join(project, path)
  if (path.startsWith('/sessions/')) return join(sessions, path.slice('/sessions/'.length))
  return undefined
}

/**
 * A server whose clients may vanish at any moment: whatever fails then ends that request alone. It keeps connections open
 * for as long as clients do: one that it closed just as a client used it again would lose that request.
 * @param {(request: import('node:http').IncomingMessage, response: import('node:http').ServerResponse) => Promise<unknown>} answer
 */
export function createPatientServer(answer) {
  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy())
  })
  Object.assign(server, { keepAliveTimeout: 0, requestTimeout: 0, headersTimeout: 0 })
  return server
}

/**
 * Serves a folder as the root of an origin of its own, and beside it the golden values, the model and the sessions.
 * @param {string} folder
 * @param {Record<string, string>} [headers] for each answer
 * @param {Record<string, string>} [scripts] more to serve, by path
 * @returns {Promise<{ origin: string, close: () => void }>}
 */
export async function serve(folder, headers = {}, scripts = {}) {
  const server = createPatientServer(async (request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url ?? '/', 'http://localhost').pathname)).replaceAll('\\', '/')
    if (request.method === 'POST') {
      await receive(request)
      return response.writeHead(204, headers).end()
    }
    if (scripts[path] !== undefined) return response.writeHead(200, { ...headers, 'content-type': 'text/javascript' }).end(scripts[path])
    const file = sharedFile(path) ?? join(folder, path.endsWith('/') ? `${path}index.html` : path)
    const found = await stat(file).catch(() => undefined)
    if (!found?.isFile()) return response.writeHead(404, headers).end()
    response.writeHead(200, {
      ...headers,
      'content-type': types[extname(file)] ?? 'application/octet-stream',
      'content-length': found.size,
    })
    await pipeline(createReadStream(file), response)
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)))
  return {
    origin: `http://127.0.0.1:${/** @type {import('node:net').AddressInfo} */ (server.address()).port}`,
    close: () => {
      server.closeAllConnections()
      server.close()
    },
  }
}
