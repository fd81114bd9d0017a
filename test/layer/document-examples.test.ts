/** The examples of the class's documentation in zeta, transcribed; and where those of docs/platforms are run. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { afterAll, expect, test, vi } from 'vitest'
import { createRuntime, MixtureOfAutoregressiveAttention, Tensor } from '../../src/index.js'
import { novelsFolder } from '../support/models.js'

const runtime = await createRuntime()
const layer = new MixtureOfAutoregressiveAttention(runtime, {
  dim: 512,
  numRoutedQueries: 5,
  numRoutedKeyValues: 5,
  localAttnWindowSize: 32,
})
afterAll(() => runtime.dispose())

function expectFinite({ data, shape }: Tensor): void {
  expect(shape).toEqual([10, 60, 512])
  expect(data.every(Number.isFinite)).toBe(true)
}

test('the first example, a forward of random tokens, runs', async () => {
  const x = Tensor.randn([10, 60, 512])
  expectFinite(await layer.forward(x))
})

test('the second example, with rotary_emb of width 512, runs: one set of 64 angles for each of the 8 heads', async () => {
  const x = Tensor.randn([10, 60, 512])
  const rotaryEmb = Tensor.randn([60, 512])
  expectFinite(await layer.forward(x, { rotaryEmb }))
})

test('the third example, with other numbers of routed queries and key/values, runs', async () => {
  const x = Tensor.randn([10, 60, 512])
  expectFinite(await layer.forward(x, { numRoutedQueries: 3, numRoutedKeyValues: 7 }))
})

test('every page on a platform is in their table of contents, and its snippets are run by the runtime suite', () => {
  const read = (name: string) => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8')
  const pages = readdirSync(new URL('../../docs/platforms', import.meta.url)).filter((name) => name !== 'README.md')
  expect(pages).toHaveLength(10)
  expect(read('README.md')).toContain('docs/platforms/README.md')
  for (const page of pages) {
    expect(read('docs/platforms/README.md')).toContain(`(${page})`)
    expect(read('test/runtimes/runners/documents.mjs')).toContain(`document('${page.replace('.md', '')}'`)
  }
})

test("the edge page's worker loads the operator's model only, retries a failed load, and responds to invalid requests", async () => {
  const page = readFileSync(new URL('../../docs/platforms/edge.md', import.meta.url), 'utf8')
  const [, code] = /^```js worker\.js\n([\s\S]*?)^```$/m.exec(page)!
  // Inside the package, where `routed-attention` is the package itself.
  const build = fileURLToPath(new URL('../../build', import.meta.url))
  mkdirSync(build, { recursive: true })
  const folder = mkdtempSync(join(build, 'edge-'))
  writeFileSync(join(folder, 'worker.mjs'), code!)
  let isUp = false
  const asked: string[] = []
  const server = createServer((request, response) => {
    asked.push(request.url!)
    const file = new URL(request.url!.split('/').at(-1), novelsFolder)
    if (!isUp) response.writeHead(503).end()
    else if (existsSync(file)) response.end(readFileSync(file))
    else response.writeHead(404).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const told = vi.spyOn(console, 'error').mockImplementation(() => {})
  try {
    interface EdgeWorker {
      fetch(request: Request, env: { MODEL: string }, context: { waitUntil(promise: Promise<unknown>): void }): Promise<Response>
    }
    const { default: worker } = (await import(/* @vite-ignore */ pathToFileURL(join(folder, 'worker.mjs')).href)) as { default: EdgeWorker }
    const awaited: Promise<unknown>[] = []
    const send = (body: unknown, method = 'POST') =>
      worker.fetch(
        new Request('https://edge.example', {
          method,
          ...(method === 'POST' && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
        }),
        { MODEL: `${origin}/novels/` },
        { waitUntil: (promise) => awaited.push(promise) },
      )
    for (const bad of ['no JSON', 'null', {}, { prompt: 5 }, { prompt: '' }, { prompt: 'x'.repeat(4001) }])
      expect((await send(bad)).status).toBe(400)
    expect((await send(undefined, 'GET')).status).toBe(400)
    expect(asked).toEqual([])

    const prompt = { prompt: 'The old captain', model: `${origin}/elsewhere/` }
    expect((await send(prompt)).status).toBe(503)
    isUp = true
    for (const response of await Promise.all([send(prompt), send(prompt)]))
      expect(((await response.json()) as { text: string }).text).toMatch(/^, and the old man, and the old man/)
    const before = asked.length
    expect((await send(prompt)).status).toBe(200)
    expect(asked).toHaveLength(before) // kept
    expect(asked.filter((url) => url.endsWith('model.safetensors'))).toHaveLength(1)
    expect(asked.every((url) => url.startsWith('/novels/'))).toBe(true)
    await Promise.all(awaited) // none rejects
    expect(told).toHaveBeenCalledTimes(1)
  } finally {
    told.mockRestore()
    server.close()
    server.closeAllConnections()
    rmSync(folder, { recursive: true })
  }
})
