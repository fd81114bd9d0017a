import { LanguageModel } from 'routed-attention'
import { createHandler } from 'routed-attention/server'
import novels from 'routed-attention-novels-10m-v2-int8'
import { KvStore } from './kv-store.ts'

/** Days after which a conversation that nobody wrote to is forgotten. */
const DAYS = 30
/** Bytes for sessions and for what is remembered of prompts: a program may have 768 MB in all. */
const LIMITS = { maxMemory: 400 * 2 ** 20, maxIdleMemory: 100 * 2 ** 20, maxCacheBytes: 64 * 2 ** 20 }
/** Milliseconds for what is under way when the platform stops the program, which gives it 5,000. */
const LAST_MILLISECONDS = 3000

// KV_PATH is for your own machine: on Deno Deploy the database is the one that was assigned to the app
const store = new KvStore(await Deno.openKv(Deno.env.get('KV_PATH')))

// before anything is served, as the platform looks for it there
Deno.cron('forget old conversations', '0 4 * * *', async () => {
  await store.expire(DAYS)
  await store.collect()
})

const apiKeys = (Deno.env.get('API_KEYS') ?? '').split(',').filter((key) => key !== '')
if (apiKeys.length === 0) throw new Error('set API_KEYS to keys that requests must show, separated by commas')

const model = await LanguageModel.load(novels)
const transferSecret = Deno.env.get('TRANSFER_SECRET') || undefined
const handler = createHandler(model, { store, apiKeys, transferSecret, ...LIMITS })

Deno.addSignalListener('SIGINT', async () => {
  await handler.close({ timeout: LAST_MILLISECONDS }) // a turn that is not over goes on when somebody asks for it
  Deno.exit()
})
Deno.serve({ port: Number(Deno.env.get('PORT') ?? 8000) }, handler)
