/* Conversations whose process ends, whose store fails or changes, and whose sessions are put away: nothing is lost or doubled. */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { Runtime } from '../../src/device/runtime.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { createHandler, type Handler } from '../../src/server/handler.js'
import { MemoryStore } from '../../src/server/stores/memory-store.js'
import {
  create,
  events,
  eventsOf,
  post,
  type Received,
  send,
  textOf,
  tokensOf,
  turn,
  UnreliableStore,
} from '../support/conversation-client.js'
import { eventually } from '../support/eventually.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, publishedConfig, smallModel, smallModelFiles } from '../support/small-models.js'

let runtime: Runtime
let model: LanguageModel
const load = (config: object) =>
  LanguageModel.load(smallModelFiles(smallModel({ ...config, num_tokens: 256 })), { runtime, tokenizer: 'bytes' })
beforeAll(async () => {
  runtime = openRuntime('baseline')
  model = await load(causalConfig)
})
afterAll(() => void runtime.dispose())

const turns = [
  { prompt: 'The old captain', max_tokens: 150, seed: 7, repetition_penalty: 1.2 },
  { prompt: ' put down', max_tokens: 70, temperature: 0.7, seed: 8 },
]

/** The events of a conversation that nothing disturbs. */
async function undisturbed(of = model): Promise<Received[]> {
  const handler = createHandler(of)
  const address = await create(handler)
  for (const body of turns) await events(handler, (await turn(handler, address, body)).events)
  const told = await events(handler, `${address}/events`)
  await handler.close()
  return told
}

/** Holds the conversation, beginning wherever it was left, and gathers the events as a client that resumes does. */
async function hold(handler: Handler, address: string, received: Received[]): Promise<void> {
  for (const [number, body] of turns.entries()) {
    await turn(handler, address, body, `key ${number}`)
    const response = await send(handler, 'GET', `${address}/events`, undefined, { 'last-event-id': received.at(-1)?.id ?? '' })
    if (response.status === 204) continue
    const reader = (response.body as ReadableStream<Uint8Array>)
      .pipeThrough(new TextDecoderStream() as never)
      .getReader() as ReadableStreamDefaultReader<string>
    for (let rest = ''; ;) {
      const { done, value } = await reader.read()
      if (done) break
      const blocks = (rest + value).split('\n\n')
      rest = blocks.pop()!
      received.push(...(await eventsOf(new Response(blocks.map((block) => `${block}\n\n`).join('')))))
    }
  }
}

describe('a process that is killed at any write', () => {
  const writes = [1, 2, 3, 4, 5, 6, 7]
  test.each(writes.flatMap((write) => (['before', 'after'] as const).map((when) => ({ write, when }))))(
    'loses nothing and duplicates nothing: $when write $write',
    async ({ write: fatal, when }) => {
      const expected = await undisturbed()
      const store = new UnreliableStore(new MemoryStore())
      const died = new Promise<'died'>((resolve) => {
        store[when] = (write) => {
          if (write < fatal) return undefined
          resolve('died')
          return new Promise(() => {})
        }
      })
      const received: Received[] = []
      let address: string | undefined
      const before = createHandler(model, { store })
      const first = create(before).then(async (created) => {
        address = created
        await hold(before, created, received)
        return 'held' as const
      })
      expect(await Promise.race([died, first])).toBe('died')
      const seen = [...received]
      expect(seen).toEqual(expected.slice(0, seen.length))

      // another process, with what the store has
      const after = createHandler(model, { store: store.kept })
      address ??= await create(after)
      await hold(after, address, seen)
      expect(seen).toEqual(expected)
      expect(await events(after, `${address}/events`)).toEqual(expected)
      await after.close()
    },
  )

  test('an answer that is generated again starts with the stored tokens', async () => {
    const store = new UnreliableStore(new MemoryStore())
    const handler = createHandler(model, { store })
    const address = await create(handler)
    store.before = (write) => (write === 4 ? new Promise(() => {}) : undefined) // the second time that tokens are stored
    await turn(handler, address, turns[0]!, 'a')
    await eventually(() => expect(store.writes).toBe(4))
    const id = address.split('/').at(-1)
    const { version, entries } = (await store.kept.read(id, 'log/'))!
    const record = JSON.parse(new TextDecoder().decode(entries.get('log/0'))) as { ids: number[]; texts: string[] }
    expect(record.ids).toHaveLength(64)
    const changed = (record.ids[63]! + 1) % 128 // as another machine might have chosen
    record.ids[63] = changed
    await store.kept.write(id, version + 1, new Map([['log/0', new TextEncoder().encode(JSON.stringify(record))]]))

    const after = createHandler(model, { store: store.kept })
    const told = tokensOf(await events(after, `${address}/events`))
    expect(told).toHaveLength(150)
    expect(told.slice(0, 64)).toEqual(record.ids)
    // what follows is what the model says behind them, with the random numbers that it would have had
    const straight = tokensOf(await undisturbed()).slice(0, 150)
    expect(told.slice(0, 63)).toEqual(straight.slice(0, 63))
    expect(told.slice(64)).not.toEqual(straight.slice(64))
    await after.close()
  })
})

test('a shutdown stores what was sent, and the next process continues after it', async () => {
  const expected = await undisturbed()
  const store = new UnreliableStore(new MemoryStore())
  const handler = createHandler(model, { store })
  const address = await create(handler)
  const { events: at } = await turn(handler, address, turns[0]!, 'key 0')
  const body = (await send(handler, 'GET', at)).body as ReadableStream<Uint8Array>
  const reader = body.getReader()
  const pieces: Uint8Array[] = []
  for (let piece = 0; piece < 5; piece++) pieces.push((await reader.read()).value!)
  await Promise.all([handler.close({ timeout: 0 }), reader.cancel()])
  const told = await eventsOf(new Response(new Blob(pieces as Uint8Array<ArrayBuffer>[])))
  const { entries } = (await store.kept.read(address.split('/').at(-1), 'log/'))!
  const record = JSON.parse(new TextDecoder().decode(entries.get('log/0'))) as { ids: number[]; end: unknown }
  expect(record.end).toBe(null)
  expect(record.ids.length).toBeGreaterThanOrEqual(told.length)

  const next = createHandler(model, { store: store.kept })
  await hold(next, address, [])
  expect(await events(next, `${address}/events`)).toEqual(expected)
  await next.close()
})

test.each([
  ['strictly causal', causalConfig],
  ['published', publishedConfig],
])('a session that is saved after each turn frees its memory and is restored: %s', async (_kind, config) => {
  const own = await load(config)
  const expected = await undisturbed(own)
  const before = runtime.info.memory.used
  const store = new UnreliableStore(new MemoryStore())
  const handler = createHandler(own, { store, maxIdleMemory: 0 })
  const restored = vi.spyOn(own, 'restoreSession')
  const address = await create(handler)
  await hold(handler, address, [])
  await eventually(() => expect(runtime.info.memory.used).toBe(before))
  expect(restored).toHaveBeenCalledTimes(1)
  expect(await events(handler, `${address}/events`)).toEqual(expected)
  const snapshot = (await store.kept.read(address.split('/').at(-1), 'snapshot'))!.entries.get('snapshot')!
  expect(own.restoreSession(snapshot).position).toBe(165) // few more tokens are read again
  await handler.close()
  own.dispose()
})

test('an unusable snapshot is replaced by reading the tokens again', async () => {
  const expected = await undisturbed()
  const store = new UnreliableStore(new MemoryStore())
  const handler = createHandler(model, { store, maxIdleMemory: 0 })
  const address = await create(handler)
  const id = address.split('/').at(-1)
  await events(handler, (await turn(handler, address, turns[0]!, 'key 0')).events)
  await eventually(async () => expect((await store.kept.read(id, 'snapshot'))!.entries.size).toBe(1))
  await handler.close()
  const { version } = (await store.kept.read(id, ''))!
  await store.kept.write(id, version + 1, new Map([['snapshot', new Uint8Array(100)]]))
  const next = createHandler(model, { store: store.kept })
  await hold(next, address, [])
  expect(await events(next, `${address}/events`)).toEqual(expected)
  await next.close()
})

test('two processes with one store do not undo each other', async () => {
  const expected = await undisturbed()
  const kept = new MemoryStore()
  const [a, b] = [createHandler(model, { store: kept }), createHandler(model, { store: kept })]
  const address = await create(a)
  expect(await events(b, `${address}/events`)).toEqual([]) // both have it in memory
  await events(a, (await turn(a, address, turns[0]!, 'key 0')).events)
  // b does not know of it, and learns
  expect(await turn(b, address, turns[0]!, 'key 0')).toMatchObject({ turn: 0 })
  await events(b, (await turn(b, address, turns[1]!, 'key 1')).events)
  expect(await turn(a, address, turns[1]!, 'key 1')).toMatchObject({ turn: 1 })
  for (const handler of [a, b]) expect(await events(handler, `${address}/events`)).toEqual(expected)
  expect((await send(a, 'DELETE', address)).status).toBe(204)
  expect((await post(b, address, { prompt: 'x' })).status).toBe(404)
  await Promise.all([a.close(), b.close()])
})

test('what another process has written meanwhile is told, and continued', async () => {
  const expected = await undisturbed()
  const store = new MemoryStore()
  const [a, b] = [createHandler(model, { store }), createHandler(model, { store })]
  const address = await create(a)
  expect(await events(b, `${address}/events`)).toEqual([])
  await events(a, (await turn(a, address, turns[0]!)).events)
  const told = await events(b, `${address}/events`)
  expect(told).toEqual(expected.slice(0, told.length))
  expect(told.length).toBeGreaterThan(0)
  await events(b, (await turn(b, address, turns[1]!)).events)
  expect(await events(a, `${address}/events`)).toEqual(expected)
  await Promise.all([a.close(), b.close()])
})

test('a failing store is reported; a turn is then not accepted, or answered once the store works again', async () => {
  const expected = await undisturbed()
  const store = new UnreliableStore(new MemoryStore())
  const handler = createHandler(model, { store })
  const address = await create(handler)
  const failing = () => Promise.reject(new Error('the disk is full'))
  store.before = failing
  expect((await post(handler, address, turns[0], 'key 0')).status).toBe(500)
  store.before = (write) => (write === 4 ? failing() : undefined)
  const { events: at } = await turn(handler, address, turns[0]!, 'key 0')
  expect((await events(handler, at)).at(-1).data.error).toMatchObject({ code: 'INTERNAL' })
  store.before = () => {}
  await hold(handler, address, [])
  expect(await events(handler, `${address}/events`)).toEqual(expected)
  expect((await store.kept.read(address.split('/').at(-1), 'log/'))!.entries.size).toBe(3)
  await handler.close()
})

test('a conversation of another model is rejected, and corrupt entries are named', async () => {
  const kept = new MemoryStore()
  const handler = createHandler(model, { store: kept })
  const address = await create(handler)
  await handler.close()
  const other = await load(publishedConfig)
  const refused = await send(createHandler(other, { store: kept }), 'GET', `${address}/events`)
  expect({ status: refused.status, text: await refused.text() }).toEqual({
    status: 409,
    text: expect.stringMatching(/another model/) as string,
  })
  other.dispose()
  const id = address.split('/').at(-1)
  await kept.write(id, 2, new Map([['log/head', Uint8Array.of(1)]]))
  const broken = await send(createHandler(model, { store: kept }), 'GET', `${address}/events`)
  expect({ status: broken.status, text: await broken.text() }).toEqual({
    status: 500,
    text: expect.stringMatching(/broken entry log\/head/) as string,
  })
})

test('many conversations at once get their own answers, and release their memory', async () => {
  await undisturbed() // what the model itself needs is there then
  const before = runtime.info.memory.used
  const handler = createHandler(model, { maxConcurrent: 4, maxQueue: 100, maxIdleMemory: 100_000 })
  const ask = async (index: number) => {
    const address = await create(handler)
    for (const round of [0, 1]) {
      const taken = await turn(handler, address, { prompt: `${index}.${round}`, max_tokens: 20 + index, seed: index }, `${round}`)
      await events(handler, taken.events)
    }
    return { address, text: textOf(await events(handler, `${address}/events`)) }
  }
  const all = await Promise.all(Array.from({ length: 24 }, (_, index) => ask(index)))
  for (const [index, { text }] of all.entries()) {
    const session = model.createSession()
    let alone = ''
    for (const round of [0, 1])
      for await (const token of session.generate(model.tokenizer.encode(`${index}.${round}`), { maxTokens: 20 + index, seed: index }))
        alone += token.text
    session.dispose()
    expect({ index, text }).toEqual({ index, text: alone })
  }
  const metrics = await (await send(handler, 'GET', '/metrics')).text()
  expect(metrics).toMatch(/^routed_attention_conversations 24$/m)
  expect(metrics).toMatch(new RegExp(`kind="completion"} ${24 * 2 * 20 + 24 * 23}$`, 'm'))
  expect(Number(/^routed_attention_idle_session_bytes (\d+)$/m.exec(metrics)![1])).toBeLessThanOrEqual(100_000)
  for (const { address } of all) await send(handler, 'DELETE', address)
  await handler.close()
  await eventually(() => expect(runtime.info.memory.used).toBe(before))
})

test('cached sessions are evicted when memory is full', async () => {
  await undisturbed()
  const probe = model.createSession()
  await probe.append([1])
  const { byteLength } = probe
  probe.dispose()
  const { used } = runtime.info.memory
  const handler = createHandler(model, { maxMemory: used + Math.floor(3.5 * byteLength) })
  const hold = async () =>
    turn(handler, await create(handler), { ...turns[0]!, max_tokens: 5 }).then(({ events: at }) => events(handler, at))
  await eventually(hold) // now it knows how much a session takes
  for (let kept = 1; kept < 3; kept++) await hold()
  const address = await create(handler)
  const refused = await post(handler, address, turns[0])
  expect({ status: refused.status, after: refused.headers.get('retry-after') }).toEqual({ status: 503, after: '1' })
  await eventually(async () => expect((await post(handler, address, turns[0], 'a')).status).toBe(201))
  expect(tokensOf(await events(handler, `${address}/events`))).toHaveLength(150)
  await handler.close()
})
