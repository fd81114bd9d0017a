import { request } from 'node:http'

/** Milliseconds after which the server gives up a client that reads nothing. */
export const STALL_TIMEOUT = 2000
/** Milliseconds between one such client and the next, since it takes half of the sequences. */
const PAUSE = 10_000
/** An answer of 10 MB, more than connections hold: the prompt again for each choice, with the probabilities of many tokens. */
const LONG = {
  prompt: Array.from({ length: 1000 }, (_, index) => index),
  n: 8,
  max_tokens: 1,
  echo: true,
  logprobs: 20,
  stream: true,
}

/**
 * A client that asks for long answers and reads nothing of them, at least one while the load lasts: the server must give it
 * up, instead of computing the answer into its own memory.
 * @param {import('./client.mjs').Load} load
 */
export async function standStill(load) {
  let hasStood = false
  for (let attempts = 0; !load.isOver() || (!hasStood && attempts < 5); attempts++) {
    const outcome = await standOnce(load)
    load.count(outcome)
    hasStood ||= outcome === 'stood still'
    const end = performance.now() + (hasStood ? PAUSE : 500)
    while (performance.now() < end && !(hasStood && load.isOver())) await new Promise((resolve) => setTimeout(resolve, 100))
  }
  if (!hasStood) load.report('no client stood still')
}

/** @param {import('./client.mjs').Load} load @returns {Promise<'stood still' | 'answered 503' | 'not answered' | 'broken off'>} */
function standOnce({ port, report }) {
  const body = JSON.stringify(LONG)
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
      setTimeout(() => {
        let end = ''
        answer.setEncoding('utf8')
        answer.on('data', (text) => (end = (end + text).slice(-1000)))
        answer.on('close', () => resolve('broken off'))
        answer.on('end', () => {
          if (!answer.complete) return resolve('broken off')
          // a server that goes down says so too
          if (!/"code":"(TIMEOUT|CLOSING)"/.test(end)) report(`a client that read nothing got its answer to the end: ${end.slice(-200)}`)
          resolve('stood still')
        })
      }, 4 * STALL_TIMEOUT)
    })
    sending.on('error', () => resolve('not answered'))
    sending.end(body)
  })
}
