// @ts-check
/*
 * Tries the service in Miniflare, and prints what went wrong: a list of { name, error }.
 *
 *   node test/service.mjs MODEL
 */
import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import OpenAI from 'openai'
import { Script } from '../soak/script.mjs'
import { bundle } from './bundle.mjs'
import { Client } from './client.mjs'
import { ServerProcess } from './server-process.mjs'

const [model = ''] = process.argv.slice(2)
const KEY = 'a-key-of-this-test'
const DAY = 86_400_000
/** Days after which a conversation expires, where one does: 4.3 s. */
const IDLE_DAYS = 5e-5
/** Milliseconds after which something counts as never to come. */
const PATIENCE = 300_000
const folder = mkdtempSync(join(tmpdir(), 'edge-service-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
/** @type {{ name: string, error?: string }[]} */
const results = []
/** @param {string} name @param {() => Promise<void>} work */
async function check(name, work) {
  await work().then(
    () => results.push({ name }),
    (error) => results.push({ name, error: String(error?.stack ?? error) }),
  )
}

await check('what is deployed is bundled as wrangler deploys it, without what tests need', async () => {
  const text = readFileSync(bundle('src/worker.js', join(folder, 'deployed')), 'utf8')
  assert(text.includes('ConversationObject') && !text.includes('a test has ended'))
})

const script = await Script.open(model)
const server = new ServerProcess(bundle('test/worker.js', join(folder, 'test')), join(folder, 'storage'), model)
const client = new Client(() => server.address)
const asked = ['The old captain', ' put down his glass', ' and looked at the map']
const expected = (await script.play(asked)).map(({ tokens }) => tokens)
await server.start()

await check('requests that come first, all at once, share one load', async () => {
  const first = await Promise.all(
    [1, 2, 3, 4].map(() => client.send('POST', '/v1/completions', { prompt: asked[0], max_tokens: 16, temperature: 0, ignore_eos: true })),
  )
  const texts = first.map(({ status, text, json }) => (status === 200 ? json.choices[0].text : text))
  assert.equal(new Set(texts).size, 1, texts.join())
  assert.deepEqual(
    first.map(({ status }) => status),
    [200, 200, 200, 200],
  )
  const { total } = await server.memory()
  assert(total < 50e6, `${total} bytes outside of WebAssembly`)
})

let path = ''
await check('a conversation goes on after its object, and after the process, was killed', async () => {
  path = await client.create()
  const told = []
  for (const [index, prompt] of asked.entries()) {
    told.push(await client.turn(path, { prompt, max_tokens: 16 }))
    if (index === 0) await client.object('abort', path)
    if (index === 1) {
      await server.kill()
      await server.start()
    }
  }
  assert.deepEqual(told, expected)
})

await check('a snapshot is kept in rows of at most a megabyte, and is read on waking', async () => {
  const long = await client.create({ prompt: 'The old captain looked at the map. '.repeat(80) })
  const before = await client.turn(long, { prompt: ' He', max_tokens: 40 })
  const { bytes, largestRow } = await client.object('state', long)
  assert(bytes > 1e6 && largestRow <= 2 ** 20, `${bytes} bytes, ${largestRow} in the largest row`)
  await client.object('abort', long)
  const after = await client.turn(long, { prompt: ' and', max_tokens: 16 })
  const twin = await client.create({ prompt: 'The old captain looked at the map. '.repeat(80) })
  assert.deepEqual(
    [before, after],
    [await client.turn(twin, { prompt: ' He', max_tokens: 40 }), await client.turn(twin, { prompt: ' and', max_tokens: 16 })],
  )
  for (const done of [long, twin]) await client.send('DELETE', done)
})

await check('a conversation that is taken away as a file, and brought back, goes on alike', async () => {
  const file = await fetch(new URL(`${path}/export`, server.address))
  assert.equal(file.status, 200)
  const headers = { 'content-type': String(file.headers.get('content-type')) }
  const init = { method: 'POST', headers, body: await file.arrayBuffer() }
  const response = await fetch(new URL('/v1/conversations', server.address), init)
  const { id } = /** @type {any} */ (await response.json())
  const copy = `/v1/conversations/${id}`
  assert.notEqual(copy, path)
  const turn = { prompt: asked[0], max_tokens: 16 }
  assert.deepEqual(await client.turn(copy, turn), await client.turn(path, turn))
  await client.send('DELETE', copy)
})

await check('an alarm that comes too early deletes nothing, and comes again', async () => {
  const { tables, alarm } = await client.object('alarm', path)
  assert.equal(tables, 2)
  assert(Math.abs(alarm - Date.now() - 30 * DAY) < 3_600_000, `the alarm comes at ${alarm}`)
})

await check('an id that spells another’s bytes differently was not made here', async () => {
  // the last of its 43 letters has two bits more than an id
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const last = letters[letters.indexOf(String(path.at(-1))) ^ 1]
  assert.equal((await client.send('GET', `${path}/events`)).status, 200)
  assert.equal((await client.send('GET', `${path.slice(0, -1)}${last}/events`)).status, 404)
})

await check('a conversation that is deleted leaves nothing behind', async () => {
  assert.equal((await client.send('DELETE', path)).status, 204)
  assert.deepEqual([(await client.send('GET', `${path}/events`)).status, (await client.send('DELETE', path)).status], [404, 404])
  const { tables, alarm } = await client.object('state', path)
  assert.deepEqual([tables, alarm], [0, null])
})
await server.kill()

const guarded = new ServerProcess(join(folder, 'test/worker.js'), join(folder, 'storage'), model, { API_KEYS: KEY, IDLE_DAYS })
await guarded.start()
const bearer = { authorization: `Bearer ${KEY}` }
const owner = new Client(() => guarded.address)
await check('nothing is answered without a key', async () => {
  assert.equal((await owner.send('POST', '/v1/conversations', {})).status, 401)
  assert.equal((await owner.send('GET', '/v1/models')).status, 401)
})

await check('a conversation that nobody writes to for too long expires, and no other', async () => {
  const begin = Date.now()
  const { json } = await owner.send('POST', '/v1/conversations', { prompt: 'The old captain' }, bearer)
  const told = () => owner.send('GET', json.events, undefined, bearer)
  let { status, text } = await told()
  // on a machine that stalled meanwhile its time may be over
  if (Date.now() - begin < IDLE_DAYS * DAY) assert.equal(status, 200, text)
  for (const end = begin + PATIENCE; status !== 404 && Date.now() < end; { status, text } = await told())
    await new Promise((resolve) => setTimeout(resolve, 200))
  assert.equal(status, 404, text)
  assert.equal((await owner.object('state', `/v1/conversations/${json.id}`)).tables, 0)
})

await check('OpenAI’s client gets completions, at once and streamed, and is told what is wrong', async () => {
  const openai = new OpenAI({ baseURL: new URL('/v1', guarded.address).href, apiKey: KEY, maxRetries: 0 })
  const name = basename(model)
  const models = []
  for await (const { id } of openai.models.list()) models.push(id)
  assert.deepEqual(models, [name])
  const request = { model: name, prompt: String(asked[0]), max_tokens: 16, temperature: 0 }
  const whole = await openai.completions.create(request)
  const stream = await openai.completions.create({ ...request, stream: true, stream_options: { include_usage: true } })
  let text = ''
  let usage
  for await (const chunk of stream) {
    text += chunk.choices[0]?.text ?? ''
    usage = chunk.usage
  }
  assert(text.length > 10)
  assert.equal(text, whole.choices[0]?.text)
  assert.equal(usage?.completion_tokens, 16)
  await assert.rejects(openai.completions.create({ ...request, model: 'gpt' }), OpenAI.NotFoundError)
  await assert.rejects(openai.completions.create({ ...request, max_tokens: -1 }), OpenAI.BadRequestError)
})
await guarded.kill()

await check('weights that are static assets are loaded, and given to nobody', async () => {
  const assets = join(folder, 'assets')
  cpSync(model, join(assets, basename(model)), { recursive: true })
  const served = new ServerProcess(join(folder, 'test/worker.js'), join(folder, 'other'), model, { ASSETS_FOLDER: assets })
  await served.start()
  const visitor = new Client(() => served.address)
  try {
    assert.deepEqual(await visitor.turn(await visitor.create(), { prompt: asked[0], max_tokens: 16 }), expected[0])
    assert.equal((await visitor.send('GET', `/${basename(model)}/config.json`)).status, 404)
  } finally {
    await served.kill()
  }
})
console.log(JSON.stringify(results))
process.exit(0)
