/* In a page that starts a Web Worker, as bundlers know it: they bundle the worker too. */
const worker = new Worker(new URL('./bundled-worker.js', import.meta.url), { type: 'module' })
worker.postMessage(JSON.parse(decodeURIComponent(location.search.slice(1))))
