/**
 * Makes the page work offline, and isolated from other origins where its host does not send the two headers that threads
 * need: it adds them to every answer. The model's files are in a cache of their own, which the package keeps.
 */

/** The build replaces it: the page's own files, relative to this one. */
declare const FILES: readonly string[]

/** What a service worker has of its global scope that a page has not. */
const scope = self as unknown as {
  readonly location: Location
  skipWaiting(): Promise<void>
  readonly clients: { claim(): Promise<void> }
  addEventListener(type: 'install' | 'activate', listener: (event: { waitUntil(work: Promise<unknown>): void }) => void): void
  addEventListener(type: 'fetch', listener: (event: FetchEvent) => void): void
}

interface FetchEvent {
  readonly request: Request
  respondWith(response: Promise<Response>): void
}

const CACHE = 'routed-attention-page'
const files = new Set(FILES.map((file) => new URL(file, scope.location.href).href))

scope.addEventListener('install', (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll([...files])))
  event.waitUntil(scope.skipWaiting())
})

scope.addEventListener('activate', (event) => {
  event.waitUntil(removeOthers().then(() => scope.clients.claim()))
})

scope.addEventListener('fetch', (event) => {
  const { request } = event
  if (request.method !== 'GET' || new URL(request.url).origin !== scope.location.origin) return
  event.respondWith(answer(request))
})

/** The network comes first, so that a new version of the page is never mixed with an old one. */
async function answer(request: Request): Promise<Response> {
  const name = request.url.replace(/[?#].*$/, '')
  try {
    const response = await fetch(request)
    if (response.ok && files.has(name)) await caches.open(CACHE).then((cache) => cache.put(name, response.clone()))
    return isolated(response)
  } catch (error) {
    const cached = await caches.match(name, { cacheName: CACHE })
    if (!cached) throw error
    return isolated(cached)
  }
}

function isolated(response: Response): Response {
  // an answer without a status is another origin's, which cannot be read
  if (response.status === 0) return response
  const headers = new Headers(response.headers)
  headers.set('Cross-Origin-Opener-Policy', 'same-origin')
  headers.set('Cross-Origin-Embedder-Policy', 'require-corp')
  const { status, statusText } = response
  return new Response(status === 204 || status === 304 ? null : response.body, { status, statusText, headers })
}

/** Files of earlier versions. */
async function removeOthers(): Promise<void> {
  const cache = await caches.open(CACHE)
  for (const { url } of await cache.keys()) if (!files.has(url)) await cache.delete(url)
}
