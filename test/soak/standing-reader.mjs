import { request } from 'node:http'

/** Milliseconds after which the server gives up a client that reads nothing. */
export const STALL_TIMEOUT = 2000
/** Milliseconds between one such client and the next, since it takes half of the sequences. */
const PAUSE = 10_000
/** An answer of 10 MB: the prompt again for each choice, with the probabilities of many tokens. */
const LONG = {
  n: 8,
  max_tokens: 1,
  echo: true,
  logprobs: 20,
  stream: true,
}
const SHORTEST_PROMPT = 1000
/** The most tokens of a prompt: an answer of 40 MB, where receive buffers grow to 33 MB at most (Linux, tcp_rmem). */
const MAX_PROMPT = 4000

/** The longest that nothing is read, in milliseconds. */
const MAX_WAIT = 128_000

/**
 * A client that asks for long answers and reads nothing of them, at least one while the load lasts: the server must give it
 * up, instead of computing the answer into its own memory.
 * @param {import('./client.mjs').Load} load
 */
export async function standStill(load) {
  let hasStood = false
  // How much a connection holds is up to the system, and how soon the server has filled it up to the load: one that got
  // its whole answer did not stand still, and asks for more and waits for longer the next time.
  let scale = 1
  for (let attempts = 0; !load.isOver() || (!hasStood && attempts < 6); attempts++) {
    const outcome = await standOnce(load, scale)
    if (outcome === 'answered to the end') scale *= 2
    load.count(outcome)
    hasStood ||= outcome === 'stood still'
    const end = performance.now() + (hasStood ? PAUSE : 500)
    while (performance.now() < end && !(hasStood && load.isOver())) await new Promise((resolve) => setTimeout(resolve, 100))
  }
  if (!hasStood) load.report('no client that read nothing was given up')
}

/**
 * @param {import('./client.mjs').Load} load
 * @param {number} scale of the answer's length and of the time in which nothing is read
 * @returns {Promise<'stood still' | 'answered to the end' | 'answered 503' | 'not answered' | 'broken off'>}
 */
function standOnce({ port, report }, scale) {
  const length = Math.min(scale * SHORTEST_PROMPT, MAX_PROMPT)
  const body = JSON.stringify({ ...LONG, prompt: Array.from({ length }, (_, index) => index) })
  const headers = { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(body)) }
  return new Promise((resolve) => {
    const sending = request({ host: '127.0.0.1', port, method: 'POST', path: '/v1/completions', headers, agent: false }, (answer) => {
      answer.on('error', () => resolve('broken off'))
      if (answer.statusCode !== 200) {
        answer.resume()
        if (answer.statusCode !== 503) report(`a client that was to stand still was answered ${answer.statusCode}`)
        return resolve('answered 503')
      }
      // nothing is read until somebody listens
      setTimeout(
        () => {
          let end = ''
          answer.setEncoding('utf8')
          answer.on('data', (text) => (end = (end + text).slice(-1000)))
          answer.on('close', () => resolve('broken off'))
          answer.on('end', () => {
            if (!answer.complete) return resolve('broken off')
            // a server that goes down says so too
            resolve(/"code":"(TIMEOUT|CLOSING)"/.test(end) ? 'stood still' : 'answered to the end')
          })
        },
        Math.min(4 * scale * STALL_TIMEOUT, MAX_WAIT),
      )
    })
    sending.on('error', () => resolve('not answered'))
    sending.end(body)
  })
}
