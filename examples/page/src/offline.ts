/** Milliseconds that a service worker may take to start before the page goes on without it. */
const PATIENCE = 4000
const TRIED = 'isolation-tried'

/**
 * Registers the service worker, which makes the page work offline. Where the host does not send the headers that threads
 * need, the service worker adds them, and the page has to be loaded once more.
 * @returns whether the page is being loaded again
 */
export async function becomesIsolated(): Promise<boolean> {
  if (!('serviceWorker' in navigator) || !isSecureContext) return false
  const registering = navigator.serviceWorker.register(new URL('./service-worker.js', document.baseURI))
  // without storage, or in a frame, there is nothing that can be done; the page says why it has one thread
  if (crossOriginIsolated || sessionStorage.getItem(TRIED)) {
    registering.catch(() => {})
    return false
  }
  sessionStorage.setItem(TRIED, 'yes')
  const isReady = await Promise.race([registering.then(controlled, () => false), timeout(PATIENCE)])
  if (isReady) location.reload()
  return isReady
}

/** Resolves when a service worker answers this page's requests. */
async function controlled(): Promise<boolean> {
  if (!navigator.serviceWorker.controller)
    await new Promise((resolve) => navigator.serviceWorker.addEventListener('controllerchange', resolve, { once: true }))
  return true
}

function timeout(milliseconds: number): Promise<false> {
  return new Promise((resolve) => setTimeout(() => resolve(false), milliseconds))
}
