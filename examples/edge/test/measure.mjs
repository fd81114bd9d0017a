// @ts-check
/*
 * What the service costs, in Miniflare: prints it.
 *
 *   node test/measure.mjs MODEL [TOKENS …]
 *
 * TOKENS: lengths of conversations that are woken; default 1000 and 100000.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bundle } from './bundle.mjs'
import { Client } from './client.mjs'
import { ServerProcess } from './server-process.mjs'

const [model = '', ...given] = process.argv.slice(2)
const lengths = given.length > 0 ? given.map(Number) : [1000, 100_000]
const folder = mkdtempSync(join(tmpdir(), 'edge-measure-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
const entry = bundle('test/worker.js', join(folder, 'out'))
/** @param {string} text */
const tell = (text) => console.log(text)

/** @param {string} name @param {object} bindings @param {(server: ServerProcess, client: Client) => Promise<void>} work */
async function served(name, bindings, work) {
  const server = new ServerProcess(entry, join(folder, name), model, bindings)
  await server.start()
  await work(server, new Client(() => server.address)).finally(() => server.kill())
  if (server.output.length > 0) console.error(server.output.join(''))
}

await served('cost', {}, async (server, client) => {
  const cold = server.cpuSeconds
  await client.send('POST', '/v1/completions', { prompt: 'The', max_tokens: 1 })
  tell(`the first request, which loads the model: ${((server.cpuSeconds - cold) * 1000).toFixed(0)} ms of CPU time`)
  const path = await client.create()
  await client.turn(path, { prompt: 'The old captain', max_tokens: 100 })
  const before = server.cpuSeconds
  for (let turn = 0; turn < 10; turn++) await client.turn(path, { prompt: ' and', max_tokens: 200 })
  tell(`an answer of 200 tokens: ${(((server.cpuSeconds - before) / 2000) * 1000).toFixed(2)} ms of CPU time a token`)
  const short = server.cpuSeconds
  for (let turn = 0; turn < 50; turn++) await client.turn(path, { prompt: ' and', max_tokens: 16 })
  tell(`an answer of 16 tokens: ${(((server.cpuSeconds - short) / 800) * 1000).toFixed(2)} ms of CPU time a token`)
  const reading = server.cpuSeconds
  await client.turn(path, { prompt: ids(4000, 1), max_tokens: 1 })
  tell(`words that are read: ${(((server.cpuSeconds - reading) / 4000) * 1000).toFixed(2)} ms of CPU time a token`)
})

await served('rows', {}, async (_, client) => {
  const path = await client.create()
  const rows = async () => (await client.object('state', path)).rowsWritten
  let before = await rows()
  tell(`rows written to create a conversation: ${before}, and one for its alarm`)
  const counts = []
  for (let turn = 0; turn < 40; turn++) {
    await client.turn(path, { prompt: ' and the old captain', max_tokens: 16 })
    counts.push((await rows()) - before)
    before = await rows()
  }
  tell(`rows written by a turn of 16 tokens: ${Math.min(...counts)}, with a snapshot ${Math.max(...counts)}`)
  const { bytes } = await client.object('state', path)
  tell(`storage of a conversation of 40 turns and 800 tokens: ${bytes} bytes`)
})

await served('memory', {}, async (server, client) => {
  let largest = 0
  for (let number = 0; number < 30; number++) {
    await client.turn(await client.create(), { prompt: 'The old captain', max_tokens: 16 })
    const { text } = await client.send('GET', '/metrics')
    const [used = 0, reserved = 0] = [...text.matchAll(/memory_bytes\{kind="\w+"\} (\d+)/g)].map(([, value]) => Number(value))
    const { total } = await server.memory()
    if (used > largest) {
      largest = used
      tell(
        `${number + 1} conversations: ${(used / 1e6).toFixed(1)} MB of WebAssembly in use, with JavaScript's heap ${((reserved + total) / 1e6).toFixed(1)} MB`,
      )
    }
  }
})

// room for one turn at a time, so that another conversation closes the session of the first
await served('waking', { MAX_MEMORY: 62e6, MAX_PROMPT_TOKENS: 16_000, MAX_CONVERSATION_TOKENS: 200_000 }, async (_, client) => {
  const other = await client.create()
  for (const length of lengths) {
    const path = await client.create()
    for (let read = 0; read < length; read += 16_000)
      await client.turn(path, { prompt: ids(Math.min(16_000, length - read) - 1, read), max_tokens: 1 })
    const times = []
    for (let attempt = 0; attempt < 7; attempt++) {
      await client.turn(other, { prompt: 'The', max_tokens: 1 })
      await client.object('abort', path).catch(() => {})
      const begin = performance.now()
      await client.turn(path, { prompt: ' and', max_tokens: 1 })
      times.push(performance.now() - begin)
    }
    const { bytes } = await client.object('state', path)
    times.sort((a, b) => a - b)
    tell(
      `a conversation of ${length} tokens (${(bytes / 1e6).toFixed(1)} MB), woken: first token after ${times[3]?.toFixed(0)} ms (median of 7; ${times[0]?.toFixed(0)} to ${times[6]?.toFixed(0)})`,
    )
  }
})
process.exit(0)

/** @param {number} count @param {number} seed */
function ids(count, seed) {
  return Array.from({ length: count }, (_, index) => 300 + ((index * 7919 + seed * 31) % 3500))
}
