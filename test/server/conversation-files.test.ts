/* Conversations as files: they go on elsewhere as they would at home, and nothing in a stranger's file is believed. */
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { builtinModule } from '../../src/builtin-module.js'
import type { Runtime } from '../../src/device/runtime.js'
import { LanguageModel } from '../../src/model/language-model.js'
import {
  CONVERSATION_TYPE,
  type ConversationFile,
  decodeConversation,
  encodeConversation,
} from '../../src/server/conversations/conversation-file.js'
import type { Turn } from '../../src/server/conversations/record.js'
import { createHandler, type Handler } from '../../src/server/handler.js'
import type { HandlerOptions } from '../../src/server/options.js'
import { MemoryStore } from '../../src/server/stores/memory-store.js'
import type { ConversationStore } from '../../src/server/stores/store.js'
import { SqliteStore } from '../../src/server/stores/sqlite-store.js'
import { create, events, post, send, textOf, tokensOf, turn, UnreliableStore } from '../support/conversation-client.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, smallModel, smallModelFiles } from '../support/small-models.js'
import { runs } from '../support/seed.js'

const secret = 'a secret of at least 32 characters'
const otherSecret = secret.toUpperCase()

let runtime: Runtime
let model: LanguageModel
const load = (config: object) => {
  const files = smallModelFiles(smallModel({ ...causalConfig, num_tokens: 256, ...config }))
  return LanguageModel.load(files, { runtime, tokenizer: 'bytes' })
}
beforeAll(async () => {
  runtime = openRuntime('baseline')
  model = await load({ eos_token_id: 76 })
})
afterAll(() => void runtime.dispose())

const handlers: Handler[] = []
afterAll(() => Promise.all(handlers.map((handler) => handler.close())))
function serve(options: HandlerOptions = {}, of = model): Handler {
  const handler = createHandler(of, options)
  handlers.push(handler)
  return handler
}

async function exported(handler: Handler, address: string): Promise<Uint8Array<ArrayBuffer>> {
  const response = await send(handler, 'GET', `${address}/export`)
  expect(response.status).toBe(200)
  expect(response.headers.get('content-type')).toBe(CONVERSATION_TYPE)
  return new Uint8Array(await response.arrayBuffer())
}

function bring(handler: Handler, bytes: Uint8Array<ArrayBuffer>): Promise<Response> {
  const headers = { 'content-type': CONVERSATION_TYPE }
  return handler(new Request('http://127.0.0.1/v1/conversations', { method: 'POST', headers, body: bytes }))
}

async function imported(handler: Handler, bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const response = await bring(handler, bytes)
  if (response.status !== 201) throw new Error(`${response.status} ${await response.text()}`)
  const { id, ...addresses } = (await response.json()) as { id: string }
  const address = `/v1/conversations/${id}`
  expect(addresses).toEqual({ object: 'conversation', turns: `${address}/turns`, events: `${address}/events` })
  expect(response.headers.get('location')).toBe(address)
  return address
}

async function refusal(handler: Handler, bytes: Uint8Array<ArrayBuffer>): Promise<{ status: number; code: string; message: string }> {
  const response = await bring(handler, bytes)
  const { error } = (await response.json()) as { error: { code: string; message: string } }
  return { status: response.status, code: error.code, message: error.message }
}

/** Turns of every kind, the last of which cannot be answered. */
const bodies = [
  { prompt: 'The old captain', max_tokens: 40, seed: 7, stop: ['q', '\u0010\u001c'], logit_bias: { 5: -3 } },
  { prompt: [32, 112, 117, 116], max_tokens: 30, temperature: 0 },
  { max_tokens: 70, seed: 9, repetition_penalty: 1.2, ignore_eos: true },
  { prompt: 'é, 🙂', max_tokens: 20, temperature: 0, logit_bias: { 0xf0: 1000, 76: 990 }, frequency_penalty: 100 },
]

async function held(handler: Handler): Promise<string> {
  const address = await create(handler, { prompt: 'Once', top_k: 50, max_tokens: 5 })
  for (const [number, body] of bodies.entries()) await events(handler, (await turn(handler, address, body, `key ${number}`)).events)
  return address
}

const stores: Record<string, () => ConversationStore> = {
  memory: () => new MemoryStore(),
  ...(builtinModule('node:sqlite') ? { sqlite: () => new SqliteStore(':memory:') } : {}),
}

describe.each(Object.entries(stores))('to a handler with a store in %s', (_name, open) => {
  test('a conversation has the same events there, and goes on with the same tokens', async () => {
    const [home, abroad] = [serve(), serve({ store: open() })]
    const address = await held(home)
    const file = await exported(home, address)
    const answers = ((await decodeConversation(file)).turns as Turn[]).slice(1)
    // ends at a stop text, at its length, and at a stop token behind part of a character
    expect(answers.map(({ end, texts }) => [end, texts.at(-1) === ''])).toEqual([['stop', true], ['length', false], ['length', false], ['stop', true]]) // prettier-ignore
    expect(answers[3]!.texts.at(-2)).toMatch(/\ufffd$/)
    const there = await imported(abroad, file)
    expect(there).not.toBe(address)
    expect(await events(abroad, `${there}/events`)).toEqual(await events(home, `${address}/events`))

    const again = await post(abroad, there, bodies[1], 'key 1')
    expect(again.status).toBe(200)
    expect((await post(abroad, there, bodies[0], 'key 1')).status).toBe(409)

    // with the fields that it was created with
    const next = { prompt: ' and then', seed: 3 }
    const [at, elsewhere] = [await turn(home, address, next, 'last'), await turn(abroad, there, next, 'last')]
    expect({ ...elsewhere, events: '' }).toEqual({ ...at, events: '' })
    const answer = await events(home, at.events)
    expect(answer).toHaveLength(5)
    expect(await events(abroad, elsewhere.events)).toEqual(answer)

    // and comes back as it would be had it never left
    const back = await imported(home, await exported(abroad, there))
    expect(await events(home, `${back}/events`)).toEqual(await events(home, `${address}/events`))
    const [one, other] = await Promise.all(
      [address, back].map(async (to) => tokensOf(await events(home, (await turn(home, to, bodies[2]!)).events))),
    )
    expect(other).toEqual(one)
  })
})

test('a turn is not moved while it is being answered, and one that was interrupted is answered first', async () => {
  const store = new UnreliableStore(new MemoryStore())
  let isDead = false
  store.before = () => (isDead ? new Promise(() => {}) : undefined)
  const first = createHandler(model, { store })
  const address = await create(first)
  const { events: at } = await turn(first, address, { ...bodies[0], stop: [], max_tokens: 100 })
  const busy = await send(first, 'GET', `${address}/export`)
  expect(busy.status).toBe(409)
  expect(busy.headers.get('retry-after')).toBe('1')
  isDead = true
  const second = serve({ store: store.kept })
  expect((await send(second, 'GET', `${address}/export`)).status).toBe(409)
  const told = await events(second, at)
  expect(told.at(-1).data.finish_reason).toBeTypeOf('string')
  const there = await imported(serve(), await exported(second, address))
  expect(there).toMatch(/conv_/)
  const unfinished = await decodeConversation(await exported(second, address))
  ;(unfinished.turns as { end: unknown }[])[0]!.end = null
  expect(await refusal(second, await encodeConversation(unfinished as ConversationFile))).toMatchObject({
    status: 400,
    code: 'BAD_ARGUMENT',
  })
})

test('a conversation of which a turn failed is moved with its failure', async () => {
  const home = serve()
  const address = await held(home)
  // no token is left to choose: the turn ends with NUMERIC
  const bias = Object.fromEntries(Array.from({ length: 256 }, (_, id) => [id, -1e308]))
  await events(home, (await turn(home, address, { prompt: 'x', max_tokens: 3, logit_bias: bias, frequency_penalty: 1e308 })).events)
  const before = await events(home, `${address}/events`)
  expect(before.at(-1).data.error?.code).toBe('NUMERIC')
  const abroad = serve()
  const there = await imported(abroad, await exported(home, address))
  expect(await events(abroad, `${there}/events`)).toEqual(before)
  expect((await turn(abroad, there, bodies[1]!)).turn).toBe(bodies.length + 2)
})

describe('a snapshot', () => {
  const snapshotIn = async (store: MemoryStore, address: string) =>
    (await store.read(address.split('/').at(-1), 'snapshot'))?.entries.get('snapshot')
  const long = { prompt: 'It was a dark and stormy night; '.repeat(6), max_tokens: 8, seed: 1 }
  const next = { prompt: ' the rain', max_tokens: 20, seed: 2 }

  test('is brought by files that a server with the same secret signed, and by no others', async () => {
    const home = serve({ transferSecret: secret })
    const address = await create(home)
    await events(home, (await turn(home, address, long)).events)
    const file = await exported(home, address)
    expect((await decodeConversation(file, secret)).isSigned).toBe(true)
    const expected = tokensOf(await events(home, (await turn(home, address, next)).events))
    const forged = await encodeConversation((await decodeConversation(file)) as ConversationFile, otherSecret)
    const unsigned = await encodeConversation((await decodeConversation(file)) as ConversationFile)
    for (const { name, transferSecret, bytes, isKept } of [
      { name: 'the same', transferSecret: secret, bytes: file, isKept: true },
      { name: 'another', transferSecret: otherSecret, bytes: file, isKept: false },
      { name: 'none', transferSecret: undefined, bytes: file, isKept: false },
      { name: 'signed by a stranger', transferSecret: secret, bytes: forged, isKept: false },
      { name: 'not signed', transferSecret: secret, bytes: unsigned, isKept: false },
    ]) {
      const store = new MemoryStore()
      const abroad = serve({ transferSecret, store })
      const there = await imported(abroad, bytes)
      expect({ name, isKept: (await snapshotIn(store, there)) !== undefined }).toEqual({ name, isKept })
      expect(tokensOf(await events(abroad, (await turn(abroad, there, next)).events))).toEqual(expected)
    }
    const flipped = file.slice()
    flipped[flipped.length - 1]! ^= 1
    const store = new MemoryStore()
    expect(await snapshotIn(store, await imported(serve({ transferSecret: secret, store }), flipped))).toBeUndefined()
  })

  test('is part of no file without a secret', async () => {
    const home = serve()
    const address = await create(home)
    await events(home, (await turn(home, address, long)).events)
    expect((await decodeConversation(await exported(home, address))).snapshot).toBeUndefined()
  })
})

describe('a file of a stranger', () => {
  let file: Uint8Array<ArrayBuffer>
  let honest: { head: { model: string; defaults: Record<string, unknown> }; turns: Turn[] }
  beforeAll(async () => {
    const home = serve()
    file = await exported(home, await held(home))
    honest = (await decodeConversation(file)) as never
  })
  /** The file with something else in it, and a checksum that fits. */
  const altered = (change: (log: typeof honest) => unknown) => {
    const log = structuredClone(honest)
    change(log)
    return encodeConversation(log)
  }

  test('is refused if a byte is another, lacks, or was added', async () => {
    const handler = serve()
    const places = fc.integer({ min: 0, max: file.length - 1 })
    const changes = fc.oneof(
      fc.record({ at: places, by: fc.integer({ min: 1, max: 255 }) }).map(({ at, by }) => {
        const bytes = file.slice()
        bytes[at]! ^= by
        return bytes
      }),
      places.map((length) => file.slice(0, length)),
      fc.uint8Array({ minLength: 1, maxLength: 100 }).map((more) => Uint8Array.from([...file, ...more])),
      fc.uint8Array({ maxLength: 200 }).map((bytes) => new Uint8Array(bytes)),
      fc.uint8Array({ maxLength: 200 }).map((bytes) => Uint8Array.from([...file.subarray(0, 20), ...bytes])),
    )
    await fc.assert(
      fc.asyncProperty(changes, async (bytes) => {
        const { status, code } = await refusal(handler, bytes)
        expect([status, code]).toEqual([400, 'BAD_FILE'])
      }),
      runs(300),
    )
  })

  test('is refused, or can be told and continued, whatever its log says', async () => {
    const handler = serve()
    const paths: (string | number)[][] = []
    const visit = (value: unknown, path: (string | number)[]) => {
      paths.push(path)
      if (typeof value !== 'object' || value === null) return
      const keys = Array.isArray(value) ? value.keys() : Object.keys(value)
      for (const key of keys)
        if (typeof key === 'string' || key < 2) visit((value as Record<string | number, unknown>)[key], [...path, key])
    }
    visit(honest, [])
    const values = fc.oneof(
      fc.jsonValue(),
      fc.constantFrom<unknown>(-1, 0, 1, 255, 256, 0.5, 1e300, '', 'x', 'read', 'stop', 'length', null, [], {}, [1], ['x'], {
        code: 'NUMERIC',
        message: '',
      }),
    )
    const kinds = fc.constantFrom('replace', 'delete', 'add')
    let taken = 0
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...paths.slice(1)), kinds, values, async (path, kind, value) => {
        const bytes = await altered((log) => {
          let place = log as unknown as Record<string | number, unknown>
          for (const key of path.slice(0, -1)) place = place[key] as typeof place
          const last = path.at(-1)
          if (kind === 'delete' && Array.isArray(place)) place.splice(last as number, 1)
          else if (kind === 'delete') delete place[last]
          else if (kind === 'add' && Array.isArray(place)) place.push(value)
          else place[kind === 'add' ? 'more' : last] = value
        })
        const response = await bring(handler, bytes)
        expect([201, 400, 409]).toContain(response.status)
        if (response.status !== 201) return
        taken++
        const address = `/v1/conversations/${((await response.json()) as { id: string }).id}`
        await events(handler, `${address}/events`)
        const answer = await events(handler, (await turn(handler, address, { prompt: 'a', max_tokens: 2 })).events)
        expect(answer.length).toBeGreaterThan(0)
        expect((await send(handler, 'GET', `${address}/export`)).status).toBe(200)
      }),
      runs(400),
    )
    expect(taken).toBeGreaterThan(0)
  })

  test('is refused for each fault, which is named', async () => {
    const handler = serve({ maxTokens: 100 })
    const turns = (change: (turns: Turn[]) => unknown) => altered((log) => change(log.turns))
    const set = (number: number, fields: object) => turns((all) => Object.assign(all[number]!, fields))
    for (const [bytes, message] of [
      [await set(1, { ids: [...honest.turns[1]!.ids.slice(1), 256] }), /turns\[1\]\.ids must be an array of token ids from 0 to 255/],
      [await set(1, { prompt: [1.5] }), /turns\[1\]\.prompt must be an array of token ids/],
      [await set(2, { start: 1 }), /turns\[2\]\.start must be an integer from/],
      [await set(1, { texts: [] }), /turns\[1\]\.texts must be a text for each of ids/],
      [await set(1, { key: '' }), /turns\[1\]\.key must be null, or 1 to 255/],
      [await set(2, { key: 'key 0' }), /turns\[2\]\.key must be the key of no earlier turn/],
      [await set(1, { asked: 'x' }), /turns\[1\]\.asked must be a SHA-256/],
      [await set(1, { end: 'read' }), /turns\[1\]\.end must be 'read' for the first/],
      [await set(1, { end: { code: 'INTERNAL', message: '' } }), /turns\[1\]\.end must be/],
      [await set(4, { ids: [], texts: [] }), /turns\[4\]\.ids must be the tokens of an answer/],
      [await set(1, { options: { ...honest.turns[1]!.options, maxTokens: 1 } }), /turns\[1\]\.ids must be at most max_tokens, which is 1/],
      [await set(1, { options: { maxTokens: 100 } }), /options with a seed/],
      [await set(1, { options: { ...honest.turns[1]!.options, temprature: 1 } }), /temprature/],
      [await set(1, { more: 1 }), /turns\[1\]\.more/],
      [await altered(({ head }) => (head.defaults['max_tokens'] = 101)), /max_tokens must be an integer from 0 to 100/],
      [await altered(({ head }) => (head.defaults['prompt'] = 'a')), /prompt/],
      [await altered((log) => (log.turns = {} as never)), /turns must be an array/],
      [await turns((all) => all.splice(0, 1, { ...all[0]!, prompt: [] })), /turns\[0\]\.prompt must be at least one token/],
    ] as const) {
      const refused = await refusal(handler, bytes)
      expect(refused).toMatchObject({ status: 400, code: 'BAD_ARGUMENT' })
      expect(refused.message).toMatch(message)
    }
    expect(await refusal(handler, await encodeConversation([] as never))).toMatchObject({ status: 400 })
  })

  test('is refused by another model, and beyond the limits', async () => {
    const other = serve({}, await load({ eos_token_id: 76, num_routed_key_values: 12 }))
    expect(await refusal(other, file)).toMatchObject({ status: 409, code: 'CONFLICT' })
    expect(await refusal(serve({ maxConversationTokens: 100 }), file)).toMatchObject({
      status: 400,
      message: expect.stringMatching(/may have 100 tokens/) as string,
    })
    expect(await refusal(serve({ maxImportBytes: file.length - 1 }), file)).toMatchObject({ status: 413, code: 'TOO_LARGE' })
    const key = await createHandler(model, { apiKeys: ['k'] })(new Request('http://a.test/v1/conversations/x/export'))
    expect(key.status).toBe(401)
    expect((await send(serve(), 'GET', `/v1/conversations/conv_${'a'.repeat(32)}/export`)).status).toBe(404)
  })

  test('shows what its tokens say, whatever it says of them', async () => {
    const handler = serve()
    const address = await imported(
      handler,
      await altered(({ turns }) => {
        turns[1]!.texts.fill('forged')
        ;(turns[1] as { text: string }).text = 'The young captain'
      }),
    )
    const told = await events(handler, `${address}/events`)
    const home = serve()
    const original = await events(home, `${await imported(home, file)}/events`)
    expect(textOf(told)).toBe(textOf(original))
    const words = told.filter(({ event }) => event === 'prompt').map(({ data }) => data.prompt)
    expect(words.slice(0, 2)).toEqual(['Once', honest.turns[1]!.prompt])
  })
})
