import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import ts from 'typescript'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { createRuntime, LanguageModel, type Runtime } from '../../src/index.js'
import { novels2Int8Folder } from '../support/models.js'

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const root = fileURLToPath(new URL('../..', import.meta.url))
const children: ChildProcess[] = []

let runtime: Runtime
let model: LanguageModel

beforeAll(async () => {
  runtime = await createRuntime()
  model = await LanguageModel.load(novels2Int8Folder, { runtime })
})

afterAll(async () => {
  for (const child of children) child.kill()
  await runtime.dispose()
})

/** Starts a server of the examples; it tells its port when it listens. */
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
  const scripts = ['browser', 'constrained-output', 'signed-sessions'].flatMap((folder) =>
    readdirSync(join(root, 'examples', folder))
      .filter((name) => /\.m?js$/.test(name))
      .map((name) => join(root, 'examples', folder, name)),
  )
  expect(scripts).toHaveLength(7)
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

test('signed sessions are accepted only unaltered, and only from their owner', async () => {
  const { SignedSessions } = (await import(new URL('../../examples/signed-sessions/signed-sessions.mjs', import.meta.url).href)) as {
    SignedSessions: {
      create(secret: Uint8Array): Promise<{
        sign(owner: string, bytes: Uint8Array): Promise<Uint8Array<ArrayBuffer>>
        verify(owner: string, signed: Uint8Array): Promise<Uint8Array<ArrayBuffer> | undefined>
      }>
    }
  }
  const signatures = await SignedSessions.create(crypto.getRandomValues(new Uint8Array(32)))
  const session = model.createSession()
  await session.append(model.tokenizer.encode('The old captain'))
  const signed = await signatures.sign('emil', session.save())
  const restored = model.restoreSession((await signatures.verify('emil', signed))!)
  expect(await restored.append([])).toEqual(await session.append([]))

  // a session that the model would accept, but nobody signed: its checksum is right
  const forged = model.createSession()
  await forged.append(model.tokenizer.encode('Never said'))
  expect(await signatures.verify('emil', Buffer.concat([signed.subarray(0, 32), forged.save()]))).toBe(undefined)
  for (const at of [0, 31, 32, 100, signed.length - 1]) {
    const altered = signed.slice()
    altered[at]! ^= 1
    expect(await signatures.verify('emil', altered), `byte ${at}`).toBe(undefined)
  }
  for (const length of [0, 31, 32, signed.length - 1])
    expect(await signatures.verify('emil', signed.slice(0, length)), `${length} bytes`).toBe(undefined)
  expect(await signatures.verify('emily', signed)).toBe(undefined)
  await expect(SignedSessions.create(new Uint8Array(31))).rejects.toThrow(/32 bytes/)
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
  test('is served cross-origin isolated with all that it imports, and nothing else is', async () => {
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
