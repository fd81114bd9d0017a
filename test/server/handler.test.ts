import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { createRuntime, type LanguageModel, type Runtime } from '../../src/index.js'
import { createHandler, type HandlerOptions, type LogEntry } from '../../src/server/index.js'
import { expectThrows } from '../support/errors.js'
import { causalConfig, loadSmallModel } from '../support/small-models.js'
import { ask, fault, requestOf } from './support.js'

let runtime: Runtime
let model: LanguageModel
beforeAll(async () => {
  runtime = await createRuntime()
  model = await loadSmallModel(runtime, causalConfig)
})
afterAll(() => runtime.dispose())
afterEach(() => void vi.useRealTimers())

describe('createHandler', () => {
  test('rejects invalid models, and invalid options by name', () => {
    expectThrows(() => createHandler({} as LanguageModel), 'BAD_ARGUMENT', /model must be a LanguageModel, got an object/)
    const faults: [HandlerOptions, RegExp][] = [
      [{ maxTokens: 0 }, /maxTokens must be an integer from 1, got 0/],
      [{ maxQueue: -1 }, /maxQueue must be an integer from 0, got -1/],
      [{ modelName: '' }, /modelName must be a non-empty string, got ""/],
      [{ apiKeys: ['secret', ''] }, /apiKeys must be an array of non-empty strings$/],
      [{ origins: ['https://example.com/'] }, /origins must be an array of origins/],
      [{ requestsPerMinute: 0 }, /requestsPerMinute must be a number above 0/],
      [{ stallTimeout: 2 ** 31 }, /stallTimeout must be an integer from 1 to 2147483647/],
      [{ maxChoices: 3, maxConcurrent: 2 }, /maxChoices must be at most maxConcurrent, which is 2, got 3/],
      [{ log: 1 as never }, /log must be a function, got 1/],
      [{ apikeys: [] } as never, /knows no option "apikeys" \(did you mean 'apiKeys'\?\)/],
    ]
    for (const [options, message] of faults) expectThrows(() => createHandler(model, options), 'BAD_ARGUMENT', message)
  })
})

describe('a handler', () => {
  test('names its model', async () => {
    const handler = createHandler(model, { modelName: 'small/one' })
    const entry = { id: 'small/one', object: 'model', created: expect.any(Number), owned_by: 'routed-attention' }
    expect(await ask(handler, 'GET', '/v1/models')).toMatchObject({ status: 200, body: { object: 'list', data: [entry] } })
    expect(await ask(handler, 'GET', '/v1/models/small%2Fone')).toMatchObject({ status: 200, body: entry })
    expect(await ask(handler, 'GET', '/v1/models/other')).toMatchObject({
      status: 404,
      body: fault('NOT_FOUND', /there is "small\/one"/, 'model'),
    })
  })

  test('knows its routes and their methods', async () => {
    const handler = createHandler(model)
    expect(await ask(handler, 'GET', '/v1/nothing')).toMatchObject({ status: 404, body: fault('NOT_FOUND', /nothing at this address/) })
    expect(await ask(handler, 'GET', '/v1/models/')).toMatchObject({ status: 404 })
    const refused = await ask(handler, 'DELETE', '/v1/models')
    expect(refused).toMatchObject({ status: 405, body: fault('METHOD_NOT_ALLOWED', /takes GET/) })
    expect(refused.headers.get('allow')).toBe('GET')
  })

  test('reports health and metrics, without ids or texts', async () => {
    const handler = createHandler(model)
    expect(await ask(handler, 'GET', '/health')).toMatchObject({ status: 200, body: { status: 'ok' } })
    await ask(handler, 'GET', '/v1/secret')
    const { headers, body } = await ask(handler, 'GET', '/metrics')
    expect(headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
    expect(body).toMatch(/^# TYPE routed_attention_requests_total counter$/m)
    expect(body).toMatch(/^routed_attention_requests_total\{route="\/health",status="200"\} 1$/m)
    expect(body).toMatch(/^routed_attention_requests_total\{route="",status="404"\} 1$/m)
    expect(body).toMatch(/^routed_attention_memory_bytes\{kind="used"\} \d+$/m)
    expect(body).toMatch(/^routed_attention_request_seconds_bucket\{le="\+Inf"\} 2$/m)
    expect(body).not.toMatch(/secret/)
    // every line is a comment or a sample
    expect((body as string).split('\n').filter((line) => !/^(|# (HELP|TYPE) .+|\w+(\{[^}]*\})? [\d.e+-]+)$/.test(line))).toEqual([])
  })

  test('requires a key, except for health', async () => {
    const handler = createHandler(model, { apiKeys: ['one', 'two'] })
    const get = (authorization?: string, path = '/v1/models') =>
      ask(handler, 'GET', path, undefined, { headers: { ...(authorization && { authorization }) } })
    expect(await get('Bearer one')).toMatchObject({ status: 200 })
    expect(await get('bearer  two ')).toMatchObject({ status: 200 })
    expect(await get(undefined, '/health')).toMatchObject({ status: 200 })
    for (const wrong of [undefined, 'Bearer three', 'Bearer', 'Bearer on', 'Basic one', 'one', 'Bearer one two']) {
      const refused = await get(wrong)
      expect(refused).toMatchObject({ status: 401, body: fault('UNAUTHORIZED', /Bearer KEY/) })
      expect(refused.headers.get('www-authenticate')).toBe('Bearer')
    }
    expect(await get(undefined, '/metrics')).toMatchObject({ status: 401 })
  })

  test('allows pages of the listed origins only', async () => {
    const handler = createHandler(model, { origins: ['https://page.test'], apiKeys: ['key'] })
    const from = (origin: string, method = 'GET', headers = {}) =>
      ask(handler, method, '/v1/models', undefined, { headers: { origin, ...headers } })
    const preflight = await from('https://page.test', 'OPTIONS', {
      'access-control-request-method': 'GET',
      'access-control-request-headers': 'authorization,x-stainless-os',
    })
    expect(preflight.status).toBe(204)
    expect(Object.fromEntries(preflight.headers)).toMatchObject({
      'access-control-allow-origin': 'https://page.test',
      'access-control-allow-methods': 'GET',
      'access-control-allow-headers': 'authorization,x-stainless-os',
      vary: 'origin',
    })
    const answered = await from('https://page.test', 'GET', { authorization: 'Bearer key' })
    expect(answered.status).toBe(200)
    expect(answered.headers.get('access-control-allow-origin')).toBe('https://page.test')
    // a page may read why it was refused
    expect((await from('https://page.test')).headers.get('access-control-allow-origin')).toBe('https://page.test')
    for (const origin of ['https://other.test', 'http://page.test', 'null']) {
      const refused = await from(origin, 'GET', { authorization: 'Bearer key' })
      expect(refused).toMatchObject({ status: 403, body: fault('FORBIDDEN', /origin/) })
      expect(refused.headers.get('access-control-allow-origin')).toBe(null)
    }
    const open = await ask(createHandler(model, { origins: ['*'] }), 'GET', '/v1/models', undefined, { headers: { origin: 'null' } })
    expect(open.headers.get('access-control-allow-origin')).toBe('*')
  })

  test('counts the requests of each client', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const handler = createHandler(model, { requestsPerMinute: 2, clientOf: (request) => request.headers.get('x-client') ?? '' })
    const get = (client: string) => ask(handler, 'GET', '/v1/models', undefined, { headers: { 'x-client': client } })
    for (const status of [200, 200, 429]) expect(await get('one')).toMatchObject({ status })
    const refused = await get('one')
    expect(refused).toMatchObject({ body: fault('RATE_LIMITED', /more than the 2 requests a minute/) })
    expect(refused.headers.get('retry-after')).toBe('30')
    expect(await get('two')).toMatchObject({ status: 200 })
  })

  test("logs each request without the client's address, and internal errors without their messages", async () => {
    const entries: LogEntry[] = []
    const clientOf = () => {
      throw new TypeError('a secret')
    }
    const handler = createHandler(model, { log: (entry) => entries.push(entry), clientOf })
    expect(await ask(handler, 'GET', '/v1/models/secret')).toMatchObject({ status: 500, body: fault('INTERNAL', /^the server failed$/) })
    expect(await ask(handler, 'GET', '/health?secret')).toMatchObject({ status: 200 })
    expect(entries).toMatchObject([
      {
        method: 'GET',
        route: '/v1/models/:model',
        status: 500,
        code: 'INTERNAL',
        defect: expect.stringMatching(/^TypeError\nat .*handler\.test/),
      },
      { method: 'GET', route: '/health', status: 200, promptTokens: 0, completionTokens: 0 },
    ])
    expect(JSON.stringify(entries)).not.toMatch(/secret/)
  })

  test('responds even if its log fails', async () => {
    const log = () => {
      throw new Error('full')
    }
    expect(await ask(createHandler(model, { log }), 'GET', '/health')).toMatchObject({ status: 200 })
  })

  test('shuts down: rejects further requests, and reports it as unhealthy', async () => {
    const handler = createHandler(model)
    await handler.close()
    for (const path of ['/v1/models', '/health']) {
      const refused = await ask(handler, 'GET', path)
      expect(refused).toMatchObject({ status: 503, body: fault('CLOSING', /shutting down/) })
      expect(refused.headers.get('retry-after')).toMatch(/^\d+$/)
    }
    expect((await handler(requestOf('GET', '/nothing'))).status).toBe(404)
    await expect(handler.close({ timeout: -1 })).rejects.toMatchObject({ code: 'BAD_ARGUMENT' })
  })
})
