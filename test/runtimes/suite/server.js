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
  if (!isThere)
    return run([
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
