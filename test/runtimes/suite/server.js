import { check, equal, run } from './check.js'
import { storeStatements } from './stores.js'

/**
 * What `routed-attention/server` promises where there is SQLite, and where there is none.
 * @param {import('routed-attention')} api
 * @param {any} server `routed-attention/server`
 * @param {{ folder: string, sqlite: { files: string, isThere: boolean } }} host `files`: what paths of databases begin
 * with
 */
export async function runServerSuite(api, server, { folder, sqlite: { files, isThere } }) {
  const { createHandler, SqliteStore } = server
  let opened = 0
  const newFile = () => `${files}-${opened++}.sqlite`
  const completes = /** @type {const} */ ([
    'a completion is what the model generates, at once and streamed, and ends with its reader',
    async () => {
      const model = await api.LanguageModel.load(folder)
      /** @type {any[]} */
      const entries = []
      const handler = createHandler(model, { log: (/** @type {any} */ entry) => entries.push(entry) })
      const post = (/** @type {object} */ body) => {
        const headers = { 'content-type': 'application/json' }
        return handler(new Request('http://localhost/v1/completions', { method: 'POST', headers, body: JSON.stringify(body) }))
      }
      const body = { prompt: 'The old captain', max_tokens: 20, seed: 3 }
      const expected = await model.complete('The old captain', { maxTokens: 20, seed: 3 })
      equal((await (await post(body)).json()).choices[0].text, expected.text, 'the text')
      const events = (await (await post({ ...body, stream: true })).text()).split('\n\n')
      const texts = events.filter((event) => event.startsWith('data: {')).map((event) => JSON.parse(event.slice(6)).choices[0].text)
      equal(texts.join(''), expected.text, 'the streamed text')
      equal(events.slice(-2), ['data: [DONE]', ''], 'the end of the stream')
      const reader = (await post({ ...body, max_tokens: 4000, stream: true })).body.getReader()
      await reader.read()
      await reader.cancel()
      await handler.close()
      equal([entries.at(-1).status, entries.at(-1).code], [499, 'CLIENT_LEFT'], 'the log')
      check(entries.at(-1).completionTokens <= 5, `${entries.at(-1).completionTokens} tokens were made for who had left`)
      model.dispose()
    },
  ])
  if (!isThere)
    return run([
      [...completes],
      [
        'says that there is no SQLite, and what to use instead',
        async () => {
          let thrown
          try {
            new SqliteStore(newFile())
          } catch (error) {
            thrown = /** @type {any} */ (error)
          }
          check(thrown?.code === 'UNSUPPORTED' && /Node 22\.13.*MemoryStore/.test(thrown.message), `it threw ${String(thrown)}`)
        },
      ],
    ])
  return run([
    [...completes],
    ...storeStatements(() => new SqliteStore(newFile())),
    [
      'a conversation goes on in a new handler, from what SQLite has',
      async () => {
        const model = await api.LanguageModel.load(folder)
        const file = newFile()
        const turns = [
          { prompt: 'The old captain', max_tokens: 30, seed: 1 },
          { prompt: ' He said', max_tokens: 20, seed: 2 },
        ]
        const expected = []
        const session = model.createSession()
        for (const { prompt, max_tokens: maxTokens, seed } of turns)
          for await (const { id } of session.generate(model.tokenizer.encode(prompt), { maxTokens, seed })) expected.push(id)
        session.dispose()

        let address = ''
        for (const [number, turn] of turns.entries()) {
          const store = new SqliteStore(file)
          const handler = createHandler(model, { store })
          const ask = async (/** @type {string} */ method, /** @type {string} */ path, /** @type {object | undefined} */ body) => {
            const headers = { 'content-type': 'application/json', 'idempotency-key': String(number) }
            const request = new Request(`http://localhost${path}`, { method, ...(body && { headers, body: JSON.stringify(body) }) })
            const response = await handler(request)
            const text = await response.text()
            check(response.ok, `${method} ${path} answered ${response.status} ${text}`)
            return text
          }
          if (number === 0) address = `/v1/conversations/${JSON.parse(await ask('POST', '/v1/conversations', {})).id}`
          await ask('POST', `${address}/turns`, turn)
          const told = await ask('GET', `${address}/events`, undefined)
          const tokens = [...told.matchAll(/"token":(\d+)/g)].map(([, id]) => Number(id))
          equal(tokens, expected.slice(0, number === 0 ? 30 : 50), `after turn ${number}`)
          await handler.close()
          store.close()
        }
        model.dispose()
      },
    ],
  ])
}
