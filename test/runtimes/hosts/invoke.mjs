/*
 * A request to a function in this process, which has answered none before, as a platform starts one for it.
 *
 *   node invoke.mjs MODULE REQUEST
 *
 * MODULE is one of Lambda's, with `handler`, or of Vercel's, whose default export has `fetch`. REQUEST is JSON with
 * `body`, and `method` (POST), `path` (/v1/completions) and `key` ('k', which the function knows). The answer's body goes
 * to standard output, and then a line with its status, the milliseconds after which the module was `loaded`, the `first`
 * piece of the answer came and it `ended`, since the process began, the milliseconds of processor time that it took (`cpu`),
 * and the most memory that it had.
 */
import { resolve } from 'node:path'
import { Writable } from 'node:stream'
import { pathToFileURL } from 'node:url'

const [module = '', request = '{}'] = process.argv.slice(2)
const { body, method = 'POST', path = '/v1/completions', key = 'k' } = JSON.parse(request)
const content = body === undefined ? undefined : JSON.stringify(body)
const headers = { 'content-type': 'application/json', authorization: `Bearer ${key}` }

/** @type {number | undefined} */
let first
let pieces = 0
let answered = {}
/** @param {Uint8Array} chunk */
function show(chunk) {
  first ??= performance.now()
  pieces++
  process.stdout.write(chunk)
}

/** What Lambda's Node has: https://docs.aws.amazon.com/lambda/latest/dg/config-rs-write-functions.html */
Object.assign(globalThis, {
  awslambda: {
    streamifyResponse: (/** @type {Function} */ handler) => handler,
    HttpResponseStream: {
      from: (/** @type {Writable} */ stream, /** @type {object} */ metadata) => {
        answered = metadata
        return stream
      },
    },
  },
})

process.env.API_KEYS = 'k'
const { handler, default: vercel } = await import(pathToFileURL(resolve(module)).href)
const loaded = performance.now()
const url = new URL(path, 'https://function.example')
if (handler) {
  const stream = new Writable({ write: (chunk, _encoding, done) => done(void show(chunk)) })
  const requestContext = { domainName: url.host, http: { method, path: url.pathname } }
  const event = {
    version: '2.0',
    rawPath: url.pathname,
    rawQueryString: url.search.slice(1),
    headers,
    requestContext,
    isBase64Encoded: false,
  }
  await handler({ ...event, ...(content !== undefined && { body: content }) }, stream, {})
  if (!stream.writableFinished) throw new Error('the answer has no end')
} else {
  const response = await vercel.fetch(new Request(url, { method, headers, ...(content !== undefined && { body: content }) }))
  answered = { statusCode: response.status, headers: Object.fromEntries(response.headers) }
  for await (const chunk of response.body ?? []) show(chunk)
}
const ended = performance.now()
const { user, system } = process.cpuUsage()
const cpu = (user + system) / 1000
const times = Object.fromEntries(Object.entries({ loaded, first, ended, cpu }).map(([name, time]) => [name, time && Math.round(time)]))
console.log(`\n${JSON.stringify({ ...answered, pieces, ...times, megabytes: Math.round(process.resourceUsage().maxRSS / 1000) })}`)
process.exit() // as the platform stops a process, whatever it may have left to do
