/*
 * One place on a conversation's way: `move-conversation.mjs CONFIG`. It comes as a file, or begins here; a turn is taken,
 * and it leaves as a file. Prints what was told before and after the turn.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { LanguageModel } from 'routed-attention'
import { createHandler, SqliteStore } from 'routed-attention/server'

const { folder, database, secret, arrives, body, leaves } = JSON.parse(process.argv[2])
const model = await LanguageModel.load(folder)
const store = database && new SqliteStore(database)
const handler = createHandler(model, { store, transferSecret: secret })

/** @param {string} method @param {string} path @param {{ type: string, body: string | Uint8Array }} [content] */
async function send(method, path, content) {
  const init = content ? { headers: { 'content-type': content.type }, body: content.body } : {}
  const response = await handler(new Request(new URL(path, 'http://localhost'), { method, ...init }))
  if (!response.ok) throw new Error(`${method} ${path} answered ${response.status} ${await response.text()}`)
  return response
}
const json = (/** @type {object} */ value) => ({ type: 'application/json', body: JSON.stringify(value) })
const events = async (/** @type {string} */ address) => {
  const text = await (await send('GET', `${address}/events`)).text()
  return [...text.matchAll(/^data: (.+)$/gm)].map(([, data]) => JSON.parse(data))
}

const content = arrives ? { type: 'application/vnd.routed-attention.conversation', body: readFileSync(arrives) } : json({})
const { id } = await (await send('POST', '/v1/conversations', content)).json()
const address = `/v1/conversations/${id}`
const before = await events(address)
await send('POST', `${address}/turns`, json(body))
const after = await events(address)
writeFileSync(leaves, new Uint8Array(await (await send('GET', `${address}/export`)).arrayBuffer()))
await handler.close()
store?.close()
model.dispose()
console.log(JSON.stringify({ before, after }))
