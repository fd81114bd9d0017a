/* Conversations over HTTP: turns are taken once, answered to their end, and followed from anywhere. */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { Runtime } from '../../src/device/runtime.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { createHandler } from '../../src/server/handler.js'
import { MemoryStore } from '../../src/server/stores/memory-store.js'
import { create, events, eventsOf, post, send, textOf, tokensOf, turn, UnreliableStore } from '../support/conversation-client.js'
import { eventually } from '../support/eventually.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, smallModel, smallModelFiles } from '../support/small-models.js'

let runtime: Runtime
let model: LanguageModel
beforeAll(async () => {
  runtime = openRuntime('baseline')
  model = await LanguageModel.load(smallModelFiles(smallModel({ ...causalConfig, num_tokens: 256 })), { runtime, tokenizer: 'bytes' })
})
afterAll(() => void runtime.dispose())

/** What a session that nobody disturbs answers to the same turns. */
async function undisturbed(turns: readonly { prompt: string; max_tokens: number; seed: number; temperature?: number }[]) {
  const session = model.createSession()
  const answers = []
  for (const { prompt, max_tokens: maxTokens, seed, temperature } of turns) {
    const answer = { ids: [] as number[], text: '' }
    for await (const { id, text } of session.generate(model.tokenizer.encode(prompt), { maxTokens, seed, temperature })) {
      answer.ids.push(id)
      answer.text += text
    }
    answers.push(answer)
  }
  session.dispose()
  return answers
}

const question = { prompt: 'The old captain', max_tokens: 40, seed: 7 }
const another = { prompt: ' put down', max_tokens: 30, seed: 8, temperature: 0 }

test('a conversation is created, continued turn by turn, and replayed from the beginning', async () => {
  const handler = createHandler(model)
  const [first, second] = await undisturbed([question, another])
  const created = await send(handler, 'POST', '/v1/conversations', {})
  expect(created.status).toBe(201)
  const body = (await created.json()) as { id: string }
  expect(body.id).toMatch(/^conv_[A-Za-z0-9_-]{32}$/)
  const address = `/v1/conversations/${body.id}`
  expect(body).toEqual({ id: body.id, object: 'conversation', turns: `${address}/turns`, events: `${address}/events` })
  expect(created.headers.get('location')).toBe(address)
  expect(await events(handler, `${address}/events`)).toEqual([])

  const response = await post(handler, address, question, 'a')
  expect(response.status).toBe(201)
  const taken = (await response.json()) as { events: string }
  expect(taken).toEqual({ object: 'conversation.turn', turn: 0, position: 15, seed: 7, events: `${address}/events?after=15` })
  expect(response.headers.get('location')).toBe(taken.events)
  const told = await events(handler, taken.events)
  expect(tokensOf(told)).toEqual(first!.ids)
  expect(textOf(told)).toBe(first!.text)
  expect(told.map(({ id }) => id)).toEqual(first!.ids.map((_, index) => String(16 + index)))
  expect(told.map(({ data }) => data.finish_reason)).toEqual(told.map((_, index) => (index === 39 ? 'length' : null)))
  expect(told.at(-1).data.usage).toEqual({ prompt_tokens: 15, completion_tokens: 40, total_tokens: 55 })

  const next = await turn(handler, address, another, 'b')
  expect(next).toMatchObject({ turn: 1, position: 64 })
  expect(tokensOf(await events(handler, next.events))).toEqual(second!.ids)

  const all = await events(handler, `${address}/events`)
  expect(all.map(({ event, data }) => (event === 'prompt' ? data.prompt : data.token))).toEqual([
    question.prompt,
    ...first!.ids,
    another.prompt,
    ...second!.ids,
  ])
  expect(all.filter(({ event }) => event === 'prompt').map(({ id }) => id)).toEqual(['15', '64'])
  expect(await events(handler, `${address}/events`, '94')).toEqual([])
  await handler.close()
})

test('input may be token ids, or none to continue, and may be read before the first turn', async () => {
  const handler = createHandler(model)
  const [answer] = await undisturbed([{ ...question, max_tokens: 60 }])
  const address = await create(handler, { prompt: 'The old', temperature: 1, max_tokens: 20, seed: 7 })
  const ids = [...new TextEncoder().encode(' captain')]
  const first = await turn(handler, address, { prompt: ids }) // what the conversation was created with
  expect(first).toMatchObject({ turn: 1, position: 15, seed: 7 })
  expect(tokensOf(await events(handler, first.events))).toEqual(answer!.ids.slice(0, 20))
  const second = await turn(handler, address, { temperature: 0, seed: null })
  expect(second.position).toBe(35)
  const [told, again] = [await events(handler, second.events), await events(handler, `${address}/events`)]
  expect(told).toHaveLength(20)
  expect(again.filter(({ event }) => event === 'prompt').map(({ data }) => data.prompt)).toEqual(['The old', ids])
  expect(again.slice(-20)).toEqual(told)
  await handler.close()
})

test('a common beginning of conversations is read once', async () => {
  const handler = createHandler(model)
  const common = 'It was a dark and stormy night; the rain fell in torrents. '.repeat(3)
  const [first, second] = await Promise.all([{ prompt: common }, {}].map((body) => create(handler, body)))
  const answers = []
  for (const [address, prompt] of [
    [first!, 'The old captain'],
    [second!, `${common}The old captain`],
  ] as const) {
    const { events: at } = await turn(handler, address, { ...question, prompt })
    answers.push(tokensOf(await events(handler, at)))
  }
  const [alone] = await undisturbed([{ ...question, prompt: `${common}The old captain` }])
  expect(answers).toEqual([alone!.ids, alone!.ids])
  const metrics = await (await send(handler, 'GET', '/metrics')).text()
  expect(metrics).toMatch(new RegExp(`kind="cached"} ${common.length}$`, 'm'))
  await handler.close()
})

test('a seed is drawn and reported if not given, and reproduces the answer', async () => {
  const handler = createHandler(model)
  const [a, b] = [await create(handler), await create(handler)]
  const drawn = await turn(handler, a, { prompt: 'Hello', max_tokens: 12 })
  const other = await turn(handler, b, { prompt: 'Hello', max_tokens: 12 })
  expect(other.seed).not.toBe(drawn.seed)
  const [answer] = await undisturbed([{ prompt: 'Hello', max_tokens: 12, seed: drawn.seed }])
  expect(tokensOf(await events(handler, drawn.events))).toEqual(answer!.ids)
  await handler.close()
})

test('an idempotency key is accepted once: the same turn for the same body, 409 for another', async () => {
  const handler = createHandler(model)
  const address = await create(handler)
  const taken = await turn(handler, address, question, 'a')
  const answers = await Promise.all(
    Array.from({ length: 5 }, () => post(handler, address, { seed: 7, max_tokens: 40, prompt: question.prompt }, 'a')),
  )
  for (const answer of answers) {
    expect(answer.status).toBe(200)
    expect(await answer.json()).toEqual({ object: 'conversation.turn', ...taken })
  }
  for (const body of [
    { ...question, prompt: 'The old man' },
    { ...question, seed: 8 },
    { prompt: question.prompt, max_tokens: 40 },
  ]) {
    const refused = await post(handler, address, body, 'a')
    expect(refused.status).toBe(409)
    expect(await refused.json()).toMatchObject({
      error: { code: 'CONFLICT', message: expect.stringMatching(/another body.*Idempotency-Key/) as string },
    })
  }
  await events(handler, taken.events)
  expect((await post(handler, address, question, 'a')).status).toBe(200)
  expect((await turn(handler, address, question, 'b')).turn).toBe(1)
  expect(await events(handler, `${address}/events`)).toHaveLength(2 + 80)
  // many at once, none of which was seen before
  const at = await create(handler)
  const all = await Promise.all(Array.from({ length: 8 }, () => turn(handler, at, question, 'k')))
  expect(new Set(all.map((one) => JSON.stringify(one))).size).toBe(1)
  expect(await events(handler, `${at}/events`)).toHaveLength(1 + 40)
  await handler.close()
})

test('one turn at a time: another is rejected until the first has ended', async () => {
  const store = new UnreliableStore(new MemoryStore())
  const handler = createHandler(model, { store })
  const address = await create(handler)
  let release = () => {}
  store.before = (write) => (write === 3 ? new Promise<void>((resolve) => (release = resolve)) : undefined) // the end of the turn
  const taken = await turn(handler, address, question, 'a')
  const following = await send(handler, 'GET', taken.events)
  await eventually(() => expect(store.writes).toBe(3))
  const refused = await post(handler, address, another, 'b')
  expect(refused.status).toBe(409)
  expect(refused.headers.get('retry-after')).toBe('1')
  expect(await refused.json()).toMatchObject({ error: { code: 'CONFLICT', message: expect.stringMatching(/is being answered/) as string } })
  release()
  expect(await eventsOf(following)).toHaveLength(40)
  expect((await post(handler, address, another, 'b')).status).toBe(201)
  await handler.close()
})

test('events can be resumed after any of them, during a turn and afterwards', async () => {
  const handler = createHandler(model)
  const address = await create(handler)
  const { events: at } = await turn(handler, address, { ...question, max_tokens: 200 })
  const reader = ((await send(handler, 'GET', at)).body as ReadableStream<Uint8Array>).getReader()
  await reader.read()
  await reader.cancel()
  const whole = await events(handler, at)
  expect(whole).toHaveLength(200) // it went on without the client
  const [answer] = await undisturbed([{ ...question, max_tokens: 200 }])
  expect(tokensOf(whole)).toEqual(answer!.ids)
  for (const from of [0, 1, 63, 64, 65, 128, 198]) expect(await events(handler, at, whole[from]!.id)).toEqual(whole.slice(from + 1))
  expect(await events(handler, at, '')).toEqual(whole)
  expect((await send(handler, 'GET', at, undefined, { 'last-event-id': whole.at(-1).id })).status).toBe(204)
  for (const wrong of ['x', '-1', '1.5', '1e3', '216', '99999999999999999999', '15-failed']) {
    const refused = await send(handler, 'GET', at, undefined, { 'last-event-id': wrong })
    expect({ wrong, status: refused.status }).toEqual({ wrong, status: 400 })
  }
  // a position within the words: the words are told
  expect((await events(handler, `${address}/events?after=3`))[0]).toEqual({ event: 'prompt', id: '15', data: { prompt: question.prompt } })
  await handler.close()
})

test('DELETE stops the turn and deletes everything', async () => {
  const store = new UnreliableStore(new MemoryStore())
  const handler = createHandler(model, { store })
  await undisturbed([question]) // what the model itself needs is there then
  const before = runtime.info.memory.used
  const address = await create(handler)
  const { events: at } = await turn(handler, address, { ...question, max_tokens: 4000 })
  const following = await send(handler, 'GET', at)
  expect((await send(handler, 'DELETE', address)).status).toBe(204)
  const last = (await eventsOf(following)).at(-1)
  expect(last.data.error).toMatchObject({ code: 'NOT_FOUND', message: expect.stringMatching(/was deleted/) as string })
  for (const [method, path, body] of [
    ['DELETE', address, undefined],
    ['GET', `${address}/events`, undefined],
    ['POST', `${address}/turns`, question],
  ] as const)
    expect((await send(handler, method, path, body)).status).toBe(404)
  expect(store.kept.byteLength).toBe(0)
  await handler.close()
  await eventually(() => expect(runtime.info.memory.used).toBe(before))
  expect(store.writes).toBeLessThan(40) // the turn did not go on
})

test('a turn that fails ends with an error, sent once, and the conversation continues', async () => {
  const handler = createHandler(model)
  const address = await create(handler)
  const impossible = Object.fromEntries(Array.from({ length: 256 }, (_, id) => [id, -1e300]))
  const failed = await turn(handler, address, { ...question, logit_bias: impossible }, 'a')
  const told = await events(handler, failed.events)
  expect(told).toHaveLength(1)
  expect(told[0]).toMatchObject({ id: '15-failed-0', data: { error: { code: 'NUMERIC', type: 'server_error' } } })
  expect(await events(handler, failed.events, '15-failed-0')).toEqual([])
  expect(await events(handler, `${address}/events`)).toHaveLength(2)
  expect((await turn(handler, address, { ...question, logit_bias: impossible }, 'a')).turn).toBe(0)

  const again = await turn(handler, address, { max_tokens: 5, logit_bias: impossible })
  expect(again.events).toBe(`${address}/events?after=15-failed-0`)
  expect((await events(handler, again.events)).map(({ id }) => id)).toEqual(['15-failed-1'])
  const next = await turn(handler, address, { max_tokens: 40, seed: 7 })
  const [answer] = await undisturbed([question])
  expect(tokensOf(await events(handler, next.events))).toEqual(answer!.ids)
  await handler.close()
})

describe('what conversations reject', () => {
  test('invalid bodies', async () => {
    const handler = createHandler(model, { maxTokens: 100, maxPromptTokens: 50, maxConversationTokens: 60 })
    const address = await create(handler)
    for (const [body, message] of [
      [[], /the body must be a JSON object/],
      ['{', /must be JSON/],
      [{}, /needs a prompt/],
      [{ prompt: '' }, /needs a prompt/],
      [{ prompt: 3 }, /prompt must be a text, or an array of token ids from 0 to 255, got 3/],
      [{ prompt: [256] }, /token ids from 0 to 255/],
      [{ prompt: [[1]] }, /token ids/],
      [{ prompt: 'a'.repeat(51) }, /at most 50 tokens/],
      [{ prompt: 'a', max_tokens: 0 }, /max_tokens must be an integer from 1 to 100, got 0/],
      [{ prompt: 'a', max_tokens: 101 }, /max_tokens/],
      [{ prompt: 'a', temperatur: 1 }, /temperature/],
      [{ prompt: 'a', n: 2 }, /there is no field "n"/],
    ] as const) {
      const refused = await post(handler, address, body)
      const { error } = (await refused.json()) as { error: { message: string } }
      expect({ status: refused.status, message: error.message }).toEqual({ status: 400, message: expect.stringMatching(message) as string })
    }
    expect((await post(handler, address, { prompt: 'a', model: 'gpt' })).status).toBe(404)
    expect((await post(handler, address, question, '')).status).toBe(400)
    expect((await post(handler, address, question, 'k'.repeat(256))).status).toBe(400)
    expect((await send(handler, 'POST', '/v1/conversations', { prompt: 'a', wrong: 1 })).status).toBe(400)
    expect((await send(handler, 'POST', '/v1/conversations', { temperature: -1 })).status).toBe(400)
    // nothing of it was taken
    expect(await turn(handler, address, { prompt: 'a'.repeat(50), max_tokens: 100 })).toMatchObject({ turn: 0, position: 50 })
    expect(await events(handler, `${address}/events?after=50`)).toHaveLength(10) // as many as there is room for
    const full = await post(handler, address, { max_tokens: 1 })
    expect(full.status).toBe(400)
    expect(await full.text()).toMatch(/may have 60 tokens; it has 60/)
    await handler.close()
  })

  test('unknown ids, and invalid addresses', async () => {
    const handler = createHandler(model)
    const store = vi.spyOn(MemoryStore.prototype, 'read')
    const address = await create(handler)
    for (const id of ['x', 'conv_', `conv_${'A'.repeat(32)}`, '..%2F..', address.slice(-37, -1)]) {
      for (const [method, path] of [
        ['POST', `${id}/turns`],
        ['GET', `${id}/events`],
        ['DELETE', id],
      ] as const)
        // prettier-ignore
        expect((await send(handler, method, `/v1/conversations/${id === '' ? 'x' : path}`, method === 'POST' ? question : undefined)).status).toBe(404)
    }
    expect(store.mock.calls.map(([id]) => id).filter((id) => id !== `conv_${'A'.repeat(32)}` && !id.startsWith('conv_'))).toEqual([])
    store.mockRestore()
    expect((await send(handler, 'GET', address)).status).toBe(405)
    await handler.close()
  })

  test('special tokens in a text are read as text', async () => {
    const handler = createHandler(model)
    const encode = vi.spyOn(model.tokenizer, 'encode')
    await turn(handler, await create(handler, { prompt: '<s>' }), { prompt: '</s>', max_tokens: 1 })
    expect(encode.mock.calls).toEqual([
      ['<s>', { allowSpecial: false }],
      ['</s>', { allowSpecial: false }],
    ])
    encode.mockRestore()
    await handler.close()
  })
})
