import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import ts from 'typescript'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { createRuntime, LanguageModel, type Runtime } from '../../src/index.js'
import { novels2Int8Folder } from '../support/models.js'
import { recitingModelFiles } from '../support/reciting-model.js'
import { tokenizerFiles } from '../support/tokenizer-files.js'

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const root = fileURLToPath(new URL('../..', import.meta.url))
const temporary = mkdtempSync(join(tmpdir(), 'routed-attention-examples-'))
const children: ChildProcess[] = []

let runtime: Runtime
let model: LanguageModel

beforeAll(async () => {
  runtime = await createRuntime()
  model = await LanguageModel.load(novels2Int8Folder, { runtime })
})

afterAll(async () => {
  for (const child of children) child.kill()
  rmSync(temporary, { recursive: true, force: true })
  await runtime.dispose()
})

/** Starts a server of the examples; both tell their port when they listen. */
async function startServer(script: string, ...args: string[]): Promise<{ child: ChildProcess; origin: string }> {
  // The engine's flags of this process too: the same arithmetic on both sides.
  const child = spawn(process.execPath, [...process.execArgv, join(root, 'examples', script), ...args], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  children.push(child)
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  return { child, origin: `http://127.0.0.1:${/(?:port |localhost:)(\d+)/.exec(String(line))![1]}` }
}

async function greedy(prompt: string, maxTokens: number): Promise<string> {
  let text = ''
  for await (const token of model.generate(prompt, { temperature: 0, maxTokens })) text += token.text
  return text
}

test('every script of the examples passes the type checker against the built package', () => {
  const scripts = ['node-chat-server', 'browser', 'constrained-output'].flatMap((folder) =>
    readdirSync(join(root, 'examples', folder))
      .filter((name) => /\.m?js$/.test(name))
      .map((name) => join(root, 'examples', folder, name)),
  )
  expect(scripts).toHaveLength(9)
  const program = ts.createProgram(scripts, {
    noEmit: true,
    allowJs: true,
    checkJs: true,
    strict: true,
    skipLibCheck: true,
    target: ts.ScriptTarget.ES2022,
    lib: ['lib.es2022.d.ts', 'lib.esnext.disposable.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'],
    types: ['node'],
    // For examples with a package.json of their own, which would install the package.
    paths: { 'routed-attention': [join(root, 'dist/index.d.ts')] },
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
  })
  const messages = ts
    .getPreEmitDiagnostics(program)
    .map(({ file, messageText }) => `${file?.fileName}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`)
  expect(messages).toEqual([])
})

describe('the chat server', () => {
  interface StreamEvent {
    event: string
    data: { text?: string; position?: number; error?: string }
  }

  const start = (...more: string[]) =>
    startServer('node-chat-server/server.mjs', '--port', '0', '--sessions', join(temporary, 'sessions'), ...more)

  function post(origin: string, name: string, body: object | string, signal?: AbortSignal): Promise<Response> {
    return fetch(`${origin}/sessions/${name}`, {
      method: 'POST',
      body: typeof body === 'string' ? body : JSON.stringify(body),
      ...(signal && { signal }),
    })
  }

  async function ask(origin: string, name: string, text: string, maxTokens: number): Promise<{ text: string; events: StreamEvent[] }> {
    const response = await post(origin, name, { text, maxTokens, temperature: 0 })
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toBe('text/event-stream')
    const events = (await response.text()).trimEnd().split('\n\n').map((block): StreamEvent => {
      const [, event, data] = /^event: (.*)\ndata: (.*)$/.exec(block)!
      return { event: event!, data: JSON.parse(data!) as StreamEvent['data'] }
    }) // prettier-ignore
    return { text: events.map(({ data }) => data.text ?? '').join(''), events }
  }

  async function stop(child: ChildProcess): Promise<number | null> {
    const exit = once(child, 'exit') as Promise<[number | null]>
    child.kill('SIGTERM')
    return (await exit)[0]
  }

  test('streams what the model writes, and goes on with a session after a restart', async () => {
    const first = await start()
    const opening = await ask(first.origin, 'anna', 'The old captain', 8)
    expect(opening.text).toBe(await greedy('The old captain', 8))
    expect(opening.events.slice(0, -1).every(({ event }) => event === 'text')).toBe(true)
    expect(opening.events.at(-1)).toEqual({ event: 'end', data: { position: 3 + 8 } })
    expect(await stop(first.child)).toBe(0)

    const second = await start()
    const { text } = await ask(second.origin, 'anna', '', 8)
    expect(opening.text + text).toBe(await greedy('The old captain', 16))

    // Two at once on one session take turns; another session is not touched by them.
    const [one, two, other] = await Promise.all([
      ask(second.origin, 'anna', '', 4),
      ask(second.origin, 'anna', '', 4),
      ask(second.origin, 'bert', 'The old captain', 8),
    ])
    expect(opening.text + text + one.text + two.text).toBe(await greedy('The old captain', 24))
    expect(other.text).toBe(opening.text)

    expect((await fetch(`${second.origin}/sessions/anna`, { method: 'DELETE' })).status).toBe(204)
    expect((await ask(second.origin, 'anna', 'The old captain', 8)).text).toBe(opening.text)
    expect(await stop(second.child)).toBe(0)
  })

  test('writes the space between the prompt and its first word, where the decoder leaves out a leading one', async () => {
    // each token is followed by the next of the vocabulary
    const files = recitingModelFiles(Array.from({ length: 20 }, (_, id) => `${id}`))
    files.set('tokenizer.json', new TextEncoder().encode(JSON.stringify(tokenizerFiles['T5'])))
    const folder = join(temporary, 'spaced')
    mkdirSync(folder)
    for (const [name, bytes] of files) writeFileSync(join(folder, name), bytes)
    const { child, origin } = await start('--model', folder)
    expect((await ask(origin, 'spaced', 'the', 4)).text).toBe(' seasman ma')
    expect((await ask(origin, 'spaced', 'the', 1)).text).toBe(' sea')
    await stop(child)
  })

  test('hands sessions out as bytes that it signed, and takes back those only, for the session that they are of', async () => {
    const { child, origin } = await start()
    const bytesOf = (name: string) => `${origin}/sessions/${name}/bytes`
    const put = async (name: string, bytes: Uint8Array<ArrayBuffer>) => (await fetch(bytesOf(name), { method: 'PUT', body: bytes })).status
    const opening = await ask(origin, 'emil', 'The old captain', 8)
    const signed = new Uint8Array(await (await fetch(bytesOf('emil'))).arrayBuffer())
    await ask(origin, 'emil', '', 8)
    expect(await put('emil', signed)).toBe(204)
    expect(opening.text + (await ask(origin, 'emil', '', 8)).text).toBe(await greedy('The old captain', 16))

    // a session that the model would accept, but this server did not sign: its checksum is right
    const forged = model.createSession()
    await forged.append(model.tokenizer.encode('Never said'))
    const unsigned = new Uint8Array(Buffer.concat([signed.subarray(0, 32), forged.save()]))
    expect(await put('emil', unsigned)).toBe(403)
    for (const at of [0, 31, 32, 100, signed.length - 1]) {
      const altered = signed.slice()
      altered[at]! ^= 1
      expect(await put('emil', altered), `byte ${at}`).toBe(403)
    }
    for (const length of [0, 31, 32, signed.length - 1]) expect(await put('emil', signed.slice(0, length)), `${length} bytes`).toBe(403)
    expect(await put('emily', signed)).toBe(403)
    expect((await fetch(bytesOf('emily'))).status).toBe(404)
    expect((await fetch(bytesOf('emil'), { method: 'POST' })).status).toBe(405)
    await stop(child)
  })

  test('answers what it cannot do with a status and a reason, and goes on', async () => {
    const { child, origin } = await start()
    const answers = [
      [await post(origin, 'a%2Fb', { text: 'x' }), 404],
      [await post(origin, 'anna', 'no JSON'), 400],
      [await post(origin, 'anna', { text: 7 }), 400],
      [await post(origin, 'anna', { text: 'x', maxTokens: 0 }), 400],
      [await post(origin, 'empty', { text: '' }), 400],
      [await fetch(`${origin}/sessions/anna`), 405],
    ] as const
    for (const [response, status] of answers) {
      expect(response.status).toBe(status)
      expect(((await response.json()) as { error: string }).error).toMatch(/./)
    }
    expect((await ask(origin, 'carl', 'He said', 2)).text).toBe(await greedy('He said', 2))
    await stop(child)
  })

  test('stops for a client that goes away, and for SIGTERM, and the session stays usable', async () => {
    const { child, origin } = await start()
    const leaving = new AbortController()
    const response = await post(origin, 'dora', { text: 'The old captain', maxTokens: 1024, temperature: 0 }, leaving.signal)
    await response.body!.getReader().read()
    leaving.abort()
    // Its turn comes only when the one before has ended.
    const { events } = await ask(origin, 'dora', '', 1)
    expect(events.at(-1).data.position).toBeLessThan(1000)

    const cut = post(origin, 'dora', { text: '', maxTokens: 1024, temperature: 0 })
    const reader = (await cut).body!.getReader()
    await reader.read()
    expect(await stop(child)).toBe(0)
    let last = ''
    for (let part = await reader.read(); !part.done; part = await reader.read()) last += new TextDecoder().decode(part.value)
    expect(last).toMatch(/event: error\ndata: .*going down.*\n\n$/)
  })
})

type Message = { type: string; text?: string; done?: number; total?: number; tokens?: number; message?: string; runtime?: object }

/** The browser example's worker, with what a browser gives one, in a thread of Node. */
function startBrowserWorker() {
  const script = `
    const { parentPort, workerData } = require('node:worker_threads')
    globalThis.addEventListener = (type, listener) => parentPort.on(type, (data) => listener({ data }))
    globalThis.postMessage = (message) => parentPort.postMessage(message)
    import(workerData)`
  const worker = new Worker(script, { eval: true, workerData: new URL('../../examples/browser/worker.js', import.meta.url).href })
  const messages: Message[] = []
  let wake = () => {}
  worker.on('message', (message: Message) => {
    messages.push(message)
    wake()
  })
  /** All messages up to one of this type. */
  const until = async (type: string): Promise<Message[]> => {
    while (!messages.some((message) => message.type === type)) await new Promise<void>((resolve) => (wake = resolve))
    return messages.splice(0)
  }
  return { worker, until }
}

describe('the browser example', () => {
  test('is served with everything that it imports, in isolation, and nothing else is', async () => {
    const { origin } = await startServer('browser/serve.mjs', '0')
    const page = await fetch(origin)
    expect(page.url).toBe(`${origin}/examples/browser/`)
    expect(page.headers.get('cross-origin-opener-policy')).toBe('same-origin')
    expect(page.headers.get('cross-origin-embedder-policy')).toBe('require-corp')
    expect(await page.text()).toContain('src="./page.js"')

    const seen = new Set<string>()
    const visit = async (url: string): Promise<void> => {
      if (seen.has(url)) return
      seen.add(url)
      const response = await fetch(url)
      expect([url, response.status, response.headers.get('content-type')]).toEqual([url, 200, 'text/javascript; charset=utf-8'])
      const source = await response.text()
      const workers = [...source.matchAll(/new URL\("?'?(\.\/[\w.-]+\.js)/g)].map(([, name]) => name!)
      const imports = ts.preProcessFile(source, true, true).importedFiles.map(({ fileName }) => fileName)
      // Node's modules are requested in Node only
      for (const name of [...workers, ...imports]) if (!name.startsWith('node:')) await visit(new URL(name, url).href)
    }
    await visit(`${origin}/examples/browser/page.js`)
    expect([...seen]).toEqual(expect.arrayContaining([`${origin}/examples/browser/worker.js`, `${origin}/dist/index.js`]))

    for (const path of ['package.json', 'examples/browser/%2e%2e/%2e%2e/package.json', 'dist/../package.json', 'dist', '%ff']) {
      expect((await fetch(`${origin}/${path}`)).ok, path).toBe(false)
    }
  })

  test('loads, writes what the API writes, and stops on request', async () => {
    const { origin } = await startServer('browser/serve.mjs', '0')
    const { worker, until } = startBrowserWorker()
    try {
      worker.postMessage({ type: 'load', url: `${origin}/models/novels-10m-v2-int8/` })
      const loading = await until('ready')
      const progress = loading.filter(({ type }) => type === 'progress')
      expect(progress.at(-1)).toMatchObject({ done: progress.at(-1).total })

      const options = { maxTokens: 8, temperature: 0 }
      worker.postMessage({ type: 'generate', prompt: 'The old captain', options })
      const writing = await until('end')
      expect(writing.map(({ text }) => text ?? '').join('')).toBe(await greedy('The old captain', 8))
      expect(writing.at(-1)).toMatchObject({ tokens: 8 })

      worker.postMessage({ type: 'generate', prompt: 'The old captain', options: { maxTokens: 1_000_000 } })
      await until('text')
      worker.postMessage({ type: 'stop' })
      expect((await until('end')).at(-1).tokens).toBeLessThan(1_000_000)

      worker.postMessage({ type: 'generate', prompt: '', options })
      expect((await until('error')).at(-1).message).toMatch(/prompt/)
    } finally {
      await worker.terminate()
    }
  })

  test('loads again when it is to continue after a failed load', async () => {
    let isUp = false
    const server = createServer((request, response) => {
      const name = request.url!.split('/').at(-1)
      if (!isUp) response.writeHead(503).end()
      else if (existsSync(new URL(name, novels2Int8Folder))) response.end(readFileSync(new URL(name, novels2Int8Folder)))
      else response.writeHead(404).end()
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { worker, until } = startBrowserWorker()
    try {
      worker.postMessage({ type: 'load', url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` })
      expect((await until('error')).at(-1).message).toMatch(/status 503 .*trying again later may help/)
      const generate = { type: 'generate', prompt: 'The old captain', options: { maxTokens: 8, temperature: 0 } }
      worker.postMessage(generate)
      expect((await until('error')).at(-1).message).toMatch(/status 503/)
      isUp = true
      worker.postMessage(generate)
      const writing = await until('end')
      expect(writing.map(({ text }) => text ?? '').join('')).toBe(await greedy('The old captain', 8))
      expect(writing.filter(({ type }) => type === 'ready')).toHaveLength(1)
    } finally {
      await worker.terminate()
      server.close()
      server.closeAllConnections()
    }
  })
})
