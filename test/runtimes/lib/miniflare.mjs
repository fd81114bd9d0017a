/*
 * Under Node 22 or newer: `miniflare.mjs ENTRY FLAGS CONFIG BINDINGS` serves a bundled edge worker, posts CONFIG to it,
 * and prints what it answers.
 */
import { openMiniflare } from './open-miniflare.mjs'

const [entry = '', flags, body, bindings = '{}'] = process.argv.slice(2)
const miniflare = openMiniflare(entry, flags, JSON.parse(bindings))
try {
  const response = await miniflare.dispatchFetch('http://edge.example/', { method: 'POST', body: body ?? '' })
  console.log(await response.text())
  if (!response.ok) process.exitCode = 1
} finally {
  await miniflare.dispose()
}
