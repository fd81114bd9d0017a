/* The service of edge workers: turns are answered by whoever follows them, in a budget of memory. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Runtime } from '../../src/device/runtime.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { createEdgeServer, type EdgeServer, type EdgeServerOptions } from '../../src/server/edge/edge-server.js'
import { createHandler, type LogEntry, MemoryStore } from '../../src/server/index.js'
import { create, events, post, type Received, type Send, send, textOf, turn, UnreliableStore } from '../support/conversation-client.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, loadSmallModel, smallModel, smallModelFiles } from '../support/small-models.js'

let runtime: Runtime
let model: LanguageModel
beforeAll(async () => {
  runtime = openRuntime('baseline')
  runtime.isolateCallers()
  model = await LanguageModel.load(smallModelFiles(smallModel({ ...causalConfig, num_tokens: 256 })), { runtime, tokenizer: 'bytes' })
  await undisturbed() // what the model itself needs is there then: tests below count bytes
})
afterAll(() => void runtime.dispose())

// leases do not run out while the machine stalls
beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }))
afterEach(() => void vi.useRealTimers())

/** Lets time pass, by turns of the event loop, until `work` is done. */
async function whileTimePasses<T>(work: Promise<T>): Promise<T> {
  const clock = setInterval(() => vi.setSystemTime(Date.now() + 20), 5)
  try {
    return await work
  } finally {
    clearInterval(clock)
  }
}

const turns = [
  { prompt: 'The old captain', max_tokens: 100, seed: 7, repetition_penalty: 1.2 },
  { prompt: ' put down', max_tokens: 30, temperature: 0.7, seed: 8 },
]

/** An isolate with objects, which can be replaced as if they had been evicted. */
class Service {
  readonly server: EdgeServer
  readonly front: Send
  readonly stores = new Map<string, UnreliableStore>()
  readonly objects = new Map<string, Send>()
  readonly requests: Request[] = []
  log: LogEntry[] = []

  constructor(options: Partial<EdgeServerOptions> = {}) {
    this.server = createEdgeServer({ load: async () => model, log: (entry) => this.log.push(entry), ...options })
    this.front = this.server.front({
      newId: () => {
        const id = `conv_${this.stores.size}`
        this.stores.set(id, new UnreliableStore(new MemoryStore()))
        return id
      },
      fetch: (id, request) => {
        if (!this.stores.has(id)) return undefined
        if (!this.objects.has(id)) this.objects.set(id, this.server.conversation(id, this.stores.get(id)!))
        this.requests.push(request)
        return this.objects.get(id)!(request) as Promise<Response>
      },
    })
  }
}

/** The events of a conversation that nothing disturbs, in a process. */
async function undisturbed(): Promise<Received[]> {
  const handler = createHandler(model, { maxQueue: 0 })
  const address = await create(handler)
  for (const body of turns) await events(handler, (await turn(handler, address, body)).events)
  const told = await events(handler, `${address}/events`)
  await send(handler, 'DELETE', address)
  return told
}

/** Reads some events, and then no more, without a word. */
async function readSome(response: Response, least: number): Promise<void> {
  const reader = response.body!.getReader()
  let text = ''
  while (text.split('\n\n').length <= least) text += new TextDecoder().decode((await reader.read()).value)
}

describe('a conversation', () => {
  test('has the events that a process gives', async () => {
    const { front } = new Service()
    const address = await create(front)
    for (const [index, body] of turns.entries()) {
      const taken = await turn(front, address, body, `key ${index}`)
      const told = await events(front, taken.events)
      expect(await events(front, taken.events)).toEqual(told)
      expect(await turn(front, address, body, `key ${index}`)).toEqual(taken)
    }
    expect(await events(front, `${address}/events`)).toEqual(await undisturbed())
    expect((await send(front, 'DELETE', address)).status).toBe(204)
    expect((await send(front, 'GET', `${address}/events`)).status).toBe(404)
  })

  test('comes from a process as a file, goes on, and returns', async () => {
    const transferSecret = 'a secret of at least 32 characters'
    const handler = createHandler(model, { maxQueue: 0, transferSecret })
    const { front } = new Service({ transferSecret, snapshotInterval: 50 })
    const move = async (from: Send, address: string, to: Send) => {
      const response = await send(from, 'GET', `${address}/export`)
      const headers = { 'content-type': response.headers.get('content-type')! }
      const body = await response.arrayBuffer()
      const created = (await to(new Request('http://127.0.0.1/v1/conversations', { method: 'POST', headers, body }))) as Response
      expect(created.status).toBe(201)
      return created.headers.get('location')!
    }
    const home = await create(handler)
    await events(handler, (await turn(handler, home, turns[0]!)).events)
    const there = await move(handler, home, front)
    const taken = await turn(front, there, turns[1]!)
    await readSome(await send(front, 'GET', taken.events), 5)
    expect((await send(front, 'GET', `${there}/export`)).status).toBe(409)
    await events(front, taken.events)
    const back = await move(front, there, handler)
    const expected = await undisturbed()
    expect(await events(front, `${there}/events`)).toEqual(expected)
    expect(await events(handler, `${back}/events`)).toEqual(expected)
    for (const address of [home, back]) await send(handler, 'DELETE', address)
    await send(front, 'DELETE', there)
  })

  test('is not exported with a turn that is taken meanwhile and has no answer yet', async () => {
    const service = new Service({ transferSecret: 'a secret of at least 32 characters' })
    const address = await create(service.front)
    await events(service.front, (await turn(service.front, address, turns[0]!)).events)
    const [store] = service.stores.values()
    const read = store!.read.bind(store)
    let taken: { events: string } | undefined
    store!.read = async (id, prefix) => {
      const stored = await read(id, prefix)
      if (prefix === 'snapshot' && !taken) taken = await turn(service.front, address, turns[1]!)
      return stored
    }
    expect((await send(service.front, 'GET', `${address}/export`)).status).toBe(409)
    await events(service.front, taken!.events)
    expect((await send(service.front, 'GET', `${address}/export`)).status).toBe(200)
    await send(service.front, 'DELETE', address)
  })

  test.each(['the same object', 'a new object', 'a new isolate'])('goes on where its follower has left it: in %s', async (where) => {
    const before = runtime.info.memory.used
    const service = new Service({ snapshotInterval: 50 })
    const address = await create(service.front)
    for (const body of turns) {
      const taken = await turn(service.front, address, body)
      await readSome(await send(service.front, 'GET', taken.events), 20)
      if (where !== 'the same object') service.objects.clear()
      let { front } = service
      if (where === 'a new isolate') {
        const other = new Service()
        for (const [id, store] of service.stores) other.stores.set(id, store)
        front = other.front
      }
      await events(front, taken.events)
    }
    expect(await events(service.front, `${address}/events`)).toEqual(await undisturbed())
    await send(service.front, 'DELETE', address)
    service.objects.clear()
    if (where !== 'a new isolate') expect(runtime.info.memory.used).toBe(before)
  })

  test('is not written again where its object was lost in the middle: what is stored is read', async () => {
    const service = new Service()
    const address = await create(service.front)
    const { events: at } = await turn(service.front, address, turns[0]!)
    await readSome(await send(service.front, 'GET', at), 80)
    const elsewhere = new Service()
    for (const [id, store] of service.stores) elsewhere.stores.set(id, store)
    const run = vi.spyOn(runtime.device, 'run')
    const runSync = vi.spyOn(runtime.device, 'runSync')
    const runs = () => run.mock.calls.length + runSync.mock.calls.length
    const told = await events(elsewhere.front, at)
    const behind = runs()
    const { events: twin } = await turn(service.front, await create(service.front), turns[0]!)
    expect(textOf(await events(service.front, twin))).toBe(textOf(told))
    // 64 tokens of 100 are stored
    expect(behind).toBeLessThan(0.6 * (runs() - behind))
    vi.restoreAllMocks()
    await send(service.front, 'DELETE', address)
    await send(service.front, 'DELETE', twin.replace(/\/events.*/, ''))
  })

  test('computes a turn once for several followers', async () => {
    const { front, log } = new Service()
    const address = await create(front)
    const { events: followed } = await turn(front, address, turns[0]!)
    const told = await Promise.all([1, 2, 3].map(() => events(front, followed)))
    expect(told[1]).toEqual(told[0])
    expect(told[2]).toEqual(told[0])
    expect(log.reduce((sum, { completionTokens }) => sum + completionTokens, 0)).toBe(100)
  })

  test('has one turn at a time; one that was left is answered before the next is taken', async () => {
    const { front } = new Service()
    const address = await create(front)
    const first = await turn(front, address, turns[0]!)
    const following = send(front, 'GET', first.events)
    await readSome(await following, 5)
    const refused = await post(front, address, turns[1])
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([409, '1'])
    vi.setSystemTime(Date.now() + 1000)
    await events(front, (await turn(front, address, turns[1]!)).events)
    expect(await events(front, `${address}/events`)).toEqual(await undisturbed())
  })

  test('stores a snapshot now and then, from which it wakes', async () => {
    const service = new Service({ snapshotInterval: 60 })
    const address = await create(service.front)
    const snapshots = []
    for (const body of turns) {
      await events(service.front, (await turn(service.front, address, body)).events)
      const [store] = service.stores.values()
      snapshots.push((await store!.read('conv_0', 'snapshot'))!.entries.get('snapshot'))
    }
    expect(snapshots[0]).toBeDefined()
    expect(snapshots[1]).toEqual(snapshots[0])
  })

  test('stores no snapshot again because another object has taken its place', async () => {
    const service = new Service({ snapshotInterval: 60 })
    const address = await create(service.front)
    const [store] = service.stores.values()
    const write = vi.spyOn(store!.kept, 'write')
    for (const body of turns) {
      await events(service.front, (await turn(service.front, address, body)).events)
      service.objects.clear()
    }
    expect(write.mock.calls.filter(([, , entries]) => entries.has('snapshot'))).toHaveLength(1)
    await send(service.front, 'DELETE', address)
  })

  test('gives the memory of a snapshot back, once it is stored and once it is restored', async () => {
    const service = new Service({ snapshotInterval: 60 })
    const address = await create(service.front)
    const [store] = service.stores.values()
    const written: Uint8Array[] = []
    let released = 0
    const { kept } = store!
    store!.read = async (id, prefix) => {
      const stored = await kept.read(id, prefix)
      return stored && { ...stored, release: () => void (prefix === 'snapshot' && released++) }
    }
    const write = store!.write.bind(store)
    store!.write = (id, version, entries) => {
      const snapshot = entries.get('snapshot')
      if (snapshot) written.push(snapshot)
      return write(id, version, entries)
    }
    for (const body of turns) await events(service.front, (await turn(service.front, address, body)).events)
    // engines before V8 11.4 cannot
    const isReleased = 'transfer' in ArrayBuffer.prototype
    expect(written.map(({ length }) => length === 0)).toEqual([isReleased])
    expect(released).toBe(0)
    const elsewhere = new Service()
    elsewhere.stores.set('conv_0', store!)
    await events(elsewhere.front, (await turn(elsewhere.front, address, turns[1]!)).events)
    expect(released).toBe(1)
  })

  test('that cannot be stored is told as such, and goes on from what is stored', async () => {
    const service = new Service()
    const address = await create(service.front)
    const [store] = service.stores.values()
    const taken = await turn(service.front, address, turns[0]!)
    store!.before = () => {
      throw new Error('the disk is full')
    }
    const told = await events(service.front, taken.events)
    expect(told.at(-1).data.error!.code).toBe('INTERNAL')
    store!.before = () => {}
    await events(service.front, taken.events)
    await events(service.front, (await turn(service.front, address, turns[1]!)).events)
    expect(await events(service.front, `${address}/events`)).toEqual(await undisturbed())
  })

  test('held with another model is refused', async () => {
    const service = new Service()
    const address = await create(service.front)
    const other = await loadSmallModel(runtime, { ...causalConfig, num_tokens: 250 })
    const elsewhere = new Service({ load: async () => other })
    for (const [id, store] of service.stores) elsewhere.stores.set(id, store)
    expect((await post(elsewhere.front, address, { prompt: [1] })).status).toBe(409)
    other.dispose()
  })
})

describe('memory', () => {
  test('the sessions used least recently are closed to make room', async () => {
    using session = model.createSession()
    const { byteLength } = session
    session.dispose()
    const service = new Service({ maxMemory: Math.ceil(((runtime.info.memory.used + 4 * byteLength) * 27) / 20), maxCacheBytes: 0 })
    const addresses = await Promise.all([0, 1, 2, 3].map(() => create(service.front)))
    const before = runtime.info.memory.used
    for (const body of turns) {
      for (const address of addresses) await events(service.front, (await turn(service.front, address, body)).events)
      expect(runtime.info.memory.used - before).toBeLessThanOrEqual(4 * byteLength)
    }
    const expected = await undisturbed()
    for (const address of addresses) expect(await events(service.front, `${address}/events`)).toEqual(expected)
    for (const address of addresses) await send(service.front, 'DELETE', address)
    expect(runtime.info.memory.used).toBe(before)
  })

  test('what does not fit waits, and is then told to come again', async () => {
    using session = model.createSession()
    const { byteLength } = session
    session.dispose()
    const service = new Service({
      maxMemory: Math.ceil(((runtime.info.memory.used + 3 * byteLength) * 27) / 20),
      maxCacheBytes: 0,
      maxWait: 200,
    })
    const [first, second] = [await create(service.front), await create(service.front)]
    await readSome(await send(service.front, 'GET', (await turn(service.front, first, turns[0]!)).events), 5)
    const { events: waiting } = await turn(service.front, second, turns[0]!)
    const told = await whileTimePasses(events(service.front, waiting))
    expect(told.map(({ data }) => data.error?.code)).toEqual(['OVERLOADED'])
    const refused = await whileTimePasses(send(service.front, 'POST', '/v1/completions', { prompt: 'x' }))
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '2'])
    await events(service.front, `${first}/events`)
    expect(textOf(await events(service.front, waiting))).toBe(textOf(await events(service.front, `${first}/events`)))
    for (const address of [first, second]) await send(service.front, 'DELETE', address)
  })
})

test('the place of a turn whose follower has gone is given to another that needs it, and the turn goes on later', async () => {
  using session = model.createSession()
  const { byteLength } = session
  session.dispose()
  const { front } = new Service({ maxMemory: Math.ceil(((runtime.info.memory.used + 3 * byteLength) * 27) / 20), maxCacheBytes: 0 })
  const [first, second] = [await create(front), await create(front)]
  const { events: left } = await turn(front, first, turns[0]!)
  await readSome(await send(front, 'GET', left), 5)
  const { events: next } = await turn(front, second, turns[0]!)
  const told = textOf(await whileTimePasses(events(front, next)))
  // and not that there is no room
  expect(told.length).toBeGreaterThan(0)
  expect(textOf(await events(front, left))).toBe(told)
  for (const address of [first, second]) await send(front, 'DELETE', address)
})

test('more sequences than ever fit are refused at once, and those that may fit are not', async () => {
  using session = model.createSession()
  const { byteLength } = session
  session.dispose()
  const { front } = new Service({
    maxMemory: Math.ceil(((runtime.info.memory.used + 5 * byteLength) * 27) / 20),
    maxCacheBytes: 0,
    maxWait: 60_000,
  })
  const ask = async (n: number) => (await send(front, 'POST', '/v1/completions', { prompt: 'The', max_tokens: 2, n })).status
  expect([await ask(2), await ask(3)]).toEqual([200, 413])
})

describe('the front', () => {
  test('answers what needs no conversation itself', async () => {
    const { front } = new Service({ modelName: 'm' })
    expect(await (await send(front, 'GET', '/health')).json()).toEqual({ status: 'ok' })
    expect(((await (await send(front, 'GET', '/v1/models')).json()) as { data: object[] }).data).toMatchObject([{ id: 'm' }])
    const completion = await send(front, 'POST', '/v1/completions', { prompt: 'The old captain', max_tokens: 8, temperature: 0 })
    expect(await completion.json()).toMatchObject({ usage: { completion_tokens: 8 } })
    expect(await (await send(front, 'GET', '/metrics')).text()).toContain('routed_attention_sequences 0')
  })

  test('asks for a key and an origin, and passes neither on', async () => {
    const service = new Service({ apiKeys: ['secret'], origins: ['https://page.example'] })
    const { front, requests } = service
    expect((await send(front, 'POST', '/v1/conversations', {})).status).toBe(401)
    const allowed = { authorization: 'Bearer secret', origin: 'https://page.example' }
    expect((await send(front, 'POST', '/v1/conversations', {}, { ...allowed, origin: 'https://other.example' })).status).toBe(403)
    expect(requests.length).toBe(0)
    const response = await send(front, 'POST', '/v1/conversations', {}, allowed)
    expect([response.status, response.headers.get('access-control-allow-origin')]).toEqual([201, 'https://page.example'])
    expect([...requests[0]!.headers.keys()]).toEqual(['content-type'])
  })

  test('knows ids that were not made here', async () => {
    const { front, requests } = new Service()
    expect((await send(front, 'GET', '/v1/conversations/conv_9/events')).status).toBe(404)
    expect(requests.length).toBe(0)
  })

  test('tells to come again when an object has ended', async () => {
    const { front, objects } = new Service()
    const address = await create(front)
    objects.set('conv_0', () => Promise.reject(new Error('the object was evicted')))
    const refused = await send(front, 'GET', `${address}/events`)
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1'])
    objects.clear()
    expect((await send(front, 'GET', `${address}/events`)).status).toBe(204)
  })

  test('tries a load that failed again', async () => {
    let loads = 0
    const { front } = new Service({
      load: async () => {
        if (++loads === 1) throw new Error('the bucket is empty')
        return model
      },
    })
    expect((await send(front, 'POST', '/v1/conversations', {})).status).toBe(500)
    expect((await send(front, 'POST', '/v1/conversations', {})).status).toBe(201)
    expect(loads).toBe(2)
  })

  test.each([
    [{}, /load is missing/],
    [{ load: async () => model, maxMemory: -1 }, /maxMemory must be an integer from 1, got -1/],
    [{ load: async () => model, snapshotInterval: 0.5 }, /snapshotInterval must be an integer from 1/],
    [{ load: async () => model, store: 1 }, /store/],
  ])('refuses options %#', (options, message) => {
    expect(() => createEdgeServer(options as EdgeServerOptions)).toThrow(message)
  })
})
