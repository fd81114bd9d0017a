import { basename } from 'node:path'
import type { LanguageModel } from '../index.js'
import { createHandler, type FetchRequest, type HandlerOptions, SqliteStore } from '../server/index.js'
import { type Call, defineCommand, type Terminal } from './command.js'
import { UsageError } from './failures.js'
import { formatRuntime } from './format.js'
import { loadOptions, modelOperand, runtimeOptions, withModel } from './model-source.js'
import { type Listening, listen } from './node-server.js'
import { choice, integerFrom, number, type NumberRule, type OptionValues, text, texts } from './options.js'
import { createRequestLog } from './request-log.js'

const KEYS_VARIABLE = 'ROUTED_ATTENTION_API_KEYS'
const SECRET_VARIABLE = 'ROUTED_ATTENTION_TRANSFER_SECRET'
const port: NumberRule = {
  expected: 'an integer from 0 to 65535',
  fits: (value) => Number.isInteger(value) && value >= 0 && value <= 65_535,
}
const rate: NumberRule = { expected: 'a number above 0', fits: (value) => value > 0 }

const options = {
  host: text('ADDRESS', 'Address to listen on; others than this machine’s own need a key. Default: 127.0.0.1.'),
  port: number(port, 'Port to listen on; 0 takes a free one. Default: 8080.'),
  name: text('NAME', 'The model’s name in requests and answers. Default: the last part of MODEL.'),
  'api-key': texts('KEY', `A key that requests must show. Others can see it here; better set ${KEYS_VARIABLE}.`),
  origin: texts('ORIGIN', 'Let pages of this origin send requests, such as https://example.com; * for all.'),
  store: text('FILE', 'Keep conversations in this SQLite file. Default: in memory, until the server ends.'),
  'requests-per-minute': number(rate, 'Requests that a client may send in a minute. Default: no limit.'),
  'client-header': text(
    'NAME',
    'Header in which a proxy in front names the client, for --requests-per-minute. Default: the address of the connection.',
  ),
  'max-body-bytes': number(integerFrom(1), 'Bytes of a request’s body. Default: 1048576.'),
  'max-prompt-tokens': number(integerFrom(1), 'Tokens of a prompt. Default: 16384.'),
  'max-tokens': number(integerFrom(1), 'Largest max_tokens of a request. Default: 4096.'),
  'max-choices': number(integerFrom(1), 'Sequences of one request: its prompts times n. Default: 16, at most --max-concurrent.'),
  'max-concurrent': number(integerFrom(1), 'Sequences that are read or continued at the same time. Default: 16.'),
  'max-queue': number(integerFrom(0), 'Requests that may wait for others. Default: 64.'),
  'max-memory': number(integerFrom(1), 'Bytes of the runtime’s memory beyond which requests are refused. Default: 3221225472.'),
  'max-cache-bytes': number(integerFrom(0), 'Bytes of what is remembered of prompts. Default: 268435456.'),
  'max-conversation-tokens': number(integerFrom(2), 'Tokens of a conversation. Default: 65536.'),
  'max-import-bytes': number(integerFrom(1), 'Bytes of a conversation that comes as a file. Default: 8388608.'),
  'max-idle-memory': number(integerFrom(0), 'Bytes of the runtime’s memory that conversations keep between turns. Default: 134217728.'),
  'stall-timeout': number(integerFrom(1), 'Milliseconds after which a client that neither sends nor reads is given up. Default: 30000.'),
  'shutdown-timeout': number(integerFrom(0), 'Milliseconds that a shutdown waits for requests under way. Default: 10000.'),
  log: choice(['text', 'json', 'none'], 'Write a line to standard error for each request, with neither ids nor texts. Default: text.'),
  ...runtimeOptions,
  ...loadOptions,
}

type Values = OptionValues<typeof options>

export const serve = defineCommand({
  name: 'serve',
  summary: 'Answers requests over HTTP, in OpenAI’s form.',
  operands: 'MODEL',
  about: `
MODEL is a folder, or the URL of one, with config.json, the weights and tokenizer.json.
The addresses are /v1/completions, /v1/models, /v1/conversations, /health and /metrics; docs/serving.md lists what they take.
Keys are taken from the environment variable ${KEYS_VARIABLE}, separated by commas, and from --api-key.
Servers with the same ${SECRET_VARIABLE}, of at least 32 characters, take each other’s conversations without reading them again.
Ctrl-C and SIGTERM end the server: it refuses new requests and finishes those under way. A second Ctrl-C ends it at once.`,
  options,
  run,
})

async function run({ values, positionals, terminal }: Call<typeof options>): Promise<void> {
  const { place, input } = modelOperand(positionals)
  if (input !== undefined) throw new UsageError('serve takes no input')
  const { host = '127.0.0.1' } = values
  const apiKeys = [...values['api-key'], ...(process.env[KEYS_VARIABLE] ?? '').split(',').filter((key) => key !== '')]
  if (apiKeys.length === 0 && !isLoopback(host))
    throw new UsageError(`--host ${host} lets others in, which needs a key: set ${KEYS_VARIABLE}`)
  const store = values.store === undefined ? undefined : new SqliteStore(values.store)
  try {
    await withModel(place, values, terminal, async (model) => {
      const handlerOptions = { ...readOptions(values), apiKeys, store, modelName: values.name ?? nameOf(place) }
      await serveUntilEnd(model, handlerOptions, values, terminal)
    })
  } finally {
    store?.close()
  }
}

/** Serves until Ctrl-C or SIGTERM. */
async function serveUntilEnd(model: LanguageModel, options: HandlerOptions, values: Values, terminal: Terminal): Promise<void> {
  const { host = '127.0.0.1', port = 8080, 'client-header': header, 'shutdown-timeout': timeout } = values
  /** Of the connections; the handler itself knows none. */
  const addresses = new WeakMap<FetchRequest, string>()
  const clientOf = (request: FetchRequest) => (header && request.headers.get(header)) ?? addresses.get(request) ?? ''
  const handler = createHandler(model, { ...options, clientOf, log: createRequestLog(values.log ?? 'text', terminal) })
  const listening = await listen(
    (request, address) => {
      addresses.set(request, address)
      return handler(request)
    },
    { host, port },
  )
  await terminal.print(`${options.modelName} at ${addressOf(listening)}/v1 (${formatRuntime(model.runtime.info)})\n`)
  await endOf(terminal)
  listening.stop()
  terminal.note('shutting down')
  await handler.close({ timeout })
  await listening.end()
  terminal.signal.throwIfAborted()
}

/** Resolves at Ctrl-C or SIGTERM. */
function endOf({ signal }: Terminal): Promise<void> {
  return new Promise((resolve) => {
    process.once('SIGTERM', () => resolve())
    signal.addEventListener('abort', () => resolve())
    if (signal.aborted) resolve()
  })
}

function readOptions(values: Values): HandlerOptions {
  return {
    origins: values.origin,
    requestsPerMinute: values['requests-per-minute'],
    maxBodyBytes: values['max-body-bytes'],
    maxPromptTokens: values['max-prompt-tokens'],
    maxTokens: values['max-tokens'],
    maxChoices: values['max-choices'],
    maxConcurrent: values['max-concurrent'],
    maxQueue: values['max-queue'],
    maxMemory: values['max-memory'],
    maxCacheBytes: values['max-cache-bytes'],
    maxConversationTokens: values['max-conversation-tokens'],
    maxImportBytes: values['max-import-bytes'],
    transferSecret: process.env[SECRET_VARIABLE] || undefined,
    maxIdleMemory: values['max-idle-memory'],
    stallTimeout: values['stall-timeout'],
  }
}

/** Whether only this machine reaches an address. */
function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host)
}

function addressOf({ address: { address, family, port } }: Listening): string {
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`
}

/** The last part of a folder's path or URL. */
function nameOf(place: string): string {
  return basename(place.replace(/[?#].*$/, '').replace(/[/\\]+$/, '')) || 'routed-attention'
}
