import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { benchAdditions } from '../../examples/page/bench-additions.mjs'
import { buildPage, bundling } from '../../examples/page/build.mjs'
import { serveFolder } from '../../examples/page/serve.mjs'
import { nameIn } from '../../examples/page/src/bench/environment.js'
import { jsonOf, markdownOf } from '../../examples/page/src/bench/exports.js'
import { figuresOf, type Measurement } from '../../examples/page/src/bench/figures.js'
import { runBench } from '../../examples/page/src/bench/run.js'

const versions = { 'routed-attention': '1.2.3', 'onnxruntime-web': '1.30.0', '@wllama/wllama': '3.8.1' }

describe('what is built', () => {
  const source = fileURLToPath(new URL('../../examples/page/src/main.ts', import.meta.url))
  const folder = mkdtempSync(join(tmpdir(), 'routed-attention-page-bench-'))
  const [production, development] = ['production', 'development'].map((name) => join(folder, name)) as [string, string]

  beforeAll(async () => {
    await buildPage(production)
    await buildPage(development, { bench: true })
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  const filesOf = (of: string): string[] =>
    readdirSync(of, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => join(parentPath, name).slice(of.length))
      .sort()

  test('a production build has nothing of the bench, and not a byte for it', async () => {
    const text = readFileSync(source, 'utf8')
    const without = text.replace(/^if \(BENCH\) \{\n(?: .*\n)*\}\n/m, '')
    expect(without.length).toBeLessThan(text.length)
    const { outputFiles } = await build({
      ...bundling,
      stdin: { contents: without, sourcefile: 'main.ts', loader: 'ts', resolveDir: join(source, '..') },
      write: false,
    })
    // their lengths: the names that the bundler makes up also depend on code that it leaves out
    expect(readFileSync(join(production, 'main.js')).length).toBe(outputFiles[0]!.contents.length)
    for (const file of filesOf(production).filter((name) => /\.(js|css|html)$/.test(name)))
      expect(readFileSync(join(production, file), 'utf8'), file).not.toMatch(/onnxruntime|wllama|bench-|panel-bench/)
  })

  test('a development build is the same files, with the bench in its script and styles and no rival in any', () => {
    expect(filesOf(development)).toEqual(filesOf(production))
    expect(readFileSync(join(development, 'main.js'), 'utf8')).toContain('panel-bench')
    expect(readFileSync(join(development, 'page.css'), 'utf8')).toContain('.bench-table')
    for (const file of filesOf(development).filter((name) => !/^\/(main\.js|page\.css)$/.test(name)))
      expect(readFileSync(join(development, file)).equals(readFileSync(join(production, file))), file).toBe(true)
  })
})

test('the development server serves what the bench needs, says what is missing, and nothing beyond its folders', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'routed-attention-page-bench-'))
  const { folders, answers } = benchAdditions({ hasRivals: false })
  const fails = (): never => {
    throw new Error('no room')
  }
  const server = await serveFolder(folder, { additions: { folders, answers: { ...answers, '/bench/fails.json': fails } } })
  try {
    const get = (path: string): Promise<Response> => fetch(server.origin + path)
    expect(await (await get('/bench/versions.json')).json()).toEqual({
      ...{ 'routed-attention': expect.stringMatching(/^\d+\./), 'onnxruntime-web': null, '@wllama/wllama': null },
    })
    const script = await get('/bench/pages/worker.mjs')
    expect([script.status, script.headers.get('content-type')]).toEqual([200, 'text/javascript; charset=utf-8'])
    expect(script.headers.get('cross-origin-embedder-policy')).toBe('require-corp')
    for (const path of ['/bench/dist/index.js', '/bench/lib/recipe.mjs', '/bench/layers/layer_n1024.onnx', '/bench/model/config.json'])
      expect((await get(path)).status, path).toBe(200)
    for (const path of ['/bench/pages/', '/bench/run.mjs', '/bench/pages/..%2frun.mjs', '/bench/dist/%2e%2e/package.json', '/bench/'])
      expect((await get(path)).status, path).toBe(404)
    const failed = await get('/bench/fails.json')
    expect([failed.status, await failed.json()]).toEqual([500, { error: 'Error: no room' }])
  } finally {
    server.close()
    server.closeAllConnections()
    rmSync(folder, { recursive: true })
  }
})

const measurement: Measurement = {
  ...{ title: 'Reading a prompt of 100 tokens', tokens: 100, each: 'to the first token', agreement: '' },
  rows: [
    { name: 'ours', against: undefined, seconds: [0.1, 0.2, 0.4], problem: '' },
    // the round in which both were slow is not what is compared
    { name: 'theirs', against: 'ours', seconds: [0.2, 0.8, 1.2], problem: '' },
    { name: 'breaks', against: 'ours', seconds: [0.5, NaN, NaN], problem: 'out of memory' },
    { name: 'missing', against: 'ours', seconds: [NaN, NaN, NaN], problem: 'not installed: run it' },
  ],
}

test('figures are medians, their spread, and medians of the rounds’ own ratios', () => {
  const [ours, theirs, breaks, missing] = measurement.rows.map((row) => figuresOf(measurement, row))
  expect(ours).toEqual({ rounds: 3, median: 500, slowest: 250, fastest: 1000, milliseconds: 200, ratio: NaN })
  expect(theirs!.ratio).toBeCloseTo(3)
  expect(breaks).toEqual({ rounds: 1, median: 200, slowest: 200, fastest: 200, milliseconds: 500, ratio: 5 })
  expect(missing).toBeUndefined()
})

test('copies name where figures come from, and who failed', () => {
  const environment = { browser: 'Firefox 140', cores: 4, threads: 1, isolated: true, versions, date: '2026-01-02' }
  expect(markdownOf([measurement], environment)).toBe(`Reading a prompt of 100 tokens:

|         | tokens/s, median | slowest | fastest | ms to the first token | ours is | rounds |
| ------- | ---------------: | ------: | ------: | --------------------: | ------: | -----: |
| ours    |              500 |     250 |   1,000 |                   200 |       - |      3 |
| theirs  |              125 |    83.3 |     500 |                   800 |    3.0x |      3 |
| breaks  |              200 |     200 |     200 |                   500 |    5.0x |      1 |
| missing |                - |       - |       - |                     - |       - |      - |

breaks: out of memory.

missing: not installed: run it.

Firefox 140; 4 cores; one thread each; isolated from other origins; routed-attention 1.2.3; onnxruntime-web 1.30.0; @wllama/wllama 3.8.1; 2026-01-02.
`)
  const { measurements } = JSON.parse(jsonOf([measurement], environment)) as { measurements: [{ rows: object[] }] }
  expect(measurements[0].rows[1]).toMatchObject({ name: 'theirs', seconds: [0.2, 0.8, 1.2], figures: { rounds: 3, median: 125 } })
})

test('browsers are known by their user agents where they tell nothing else', () => {
  expect(nameIn('Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0')).toBe('Firefox 140.0')
  expect(nameIn('Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15')).toBe('Safari 18.1')
  expect(nameIn('Something of its own')).toBe('Something of its own')
})

describe('a run', () => {
  /** What a script answers to a call: a time or an output, or it throws. */
  type Answer = (script: string, method: string, args: unknown[], open: { file?: string; quantize?: string }) => unknown
  let answer: Answer
  let workers = 0

  /** A worker of bench/pages whose programs are made up. */
  class ProgramWorker extends EventTarget {
    readonly #script: string
    #open = {}
    #isRunning = true

    constructor(url: URL) {
      super()
      this.#script = url.search.slice(1)
      workers++
      queueMicrotask(() => this.#post({ ready: true }))
    }

    postMessage({ method, args }: { method: string; args: unknown[] }): void {
      if (method === 'open') this.#open = args[0] as object
      queueMicrotask(() => {
        try {
          this.#post({ result: answer(this.#script, method, args, this.#open) })
        } catch (error) {
          this.#post({ error: (error as Error).message })
        }
      })
    }

    terminate(): void {
      if (this.#isRunning) workers--
      this.#isRunning = false
    }

    #post(data: object): void {
      if (this.#isRunning) this.dispatchEvent(new MessageEvent('message', { data }))
    }
  }

  beforeAll(() => {
    vi.stubGlobal('Worker', ProgramWorker)
    vi.stubGlobal('document', { baseURI: 'http://localhost/' })
    const models = { float32: 'built/float32', float16: 'model', slidingWindow: { f32: 'f32.gguf', q8_0: 'q8_0.gguf' } }
    vi.stubGlobal('fetch', async () => Response.json(models))
  })
  afterAll(() => void vi.unstubAllGlobals())
  afterEach(() => expect(workers).toBe(0))

  const settings = { threads: 2, lengths: [1024], positions: [256], rounds: 3, decoded: 8, seconds: 0 }
  const works: Answer = (script, method, args) => {
    if (method === 'open') return { threads: (args[0] as { threads: number }).threads }
    if (method === 'prepareLayer') return Float32Array.of(1, 2, 3)
    return script.startsWith('ours') ? 0.1 : 0.4
  }
  const run = async (installed = versions as Parameters<typeof runBench>[0]['versions'], signal = new AbortController().signal) => {
    let found: readonly Measurement[] = []
    const options = { settings, versions: installed, install: 'install it', signal }
    await runBench({ ...options, onProgress: () => {}, onFigures: (measurements) => (found = measurements) })
    return found
  }
  const problemsOf = (measurements: readonly Measurement[]): object =>
    Object.fromEntries(
      measurements.map(({ title, rows }) => [
        title.split(' ')[0],
        rows.filter(({ problem }) => problem !== '').map(({ name, problem }) => `${name}: ${problem}`),
      ]),
    )

  test('has every program’s rounds, and compares equal precision', async () => {
    answer = works
    const measurements = await run()
    expect(measurements.map(({ title, tokens, rows }) => [title, tokens, rows.map(({ name }) => name).join()])).toEqual([
      ['The layer, 1,024 tokens', 1024, 'ours,onnxruntime-web'],
      ['Reading a prompt of 256 tokens', 256, 'ours, float32,ours, float16,ours, int8,wllama, float32,wllama, Q8_0'],
      ['Decoding behind 256 tokens', 1, 'ours, float32,ours, float16,ours, int8,wllama, float32,wllama, Q8_0'],
    ])
    for (const measurement of measurements)
      for (const row of measurement.rows) {
        expect(row).toMatchObject({ problem: '', seconds: row.against ? [0.4, 0.4, 0.4] : [0.1, 0.1, 0.1] })
        expect(figuresOf(measurement, row)!.ratio).toBe(row.against ? 4 : NaN)
      }
    expect(measurements[0]!.agreement).toMatch(/^Both compute the same: largest difference 0, /)
    expect(measurements[1]!.rows.map(({ against }) => against)).toEqual([
      ...[undefined, undefined, undefined],
      ...['ours, float32', 'ours, int8'],
    ])
  })

  test('goes on without who is missing, computes something else, breaks, or has other threads', async () => {
    answer = works
    expect(problemsOf(await run({ ...versions, '@wllama/wllama': null }))).toEqual({
      The: [],
      Reading: ['wllama, float32: not installed: install it', 'wllama, Q8_0: not installed: install it'],
      Decoding: ['wllama, float32: not installed: install it', 'wllama, Q8_0: not installed: install it'],
    })

    let decoded = 0
    answer = (script, method, args, open) => {
      if (script === 'onnxruntime' && method === 'prepareLayer') return Float32Array.of(1, 2, 3.1)
      // after two of warm-up and one before the rounds
      if (open.file === 'q8_0.gguf' && method === 'decode' && ++decoded > 4) throw new Error('out of memory\n    at decode')
      if (open.quantize && method === 'open') return { threads: 1, unavailable: { threads: 'not isolated' } }
      return works(script, method, args, open)
    }
    const measurements = await run()
    const threads = 'ours, int8: it has 1 of 2 threads (not isolated)'
    expect(problemsOf(measurements)).toEqual({
      The: [expect.stringMatching(/^onnxruntime-web: it computes something else: largest difference 0\.100, .* 0\.00030 is allowed$/)],
      Reading: [threads],
      Decoding: [threads, 'wllama, Q8_0: out of memory'],
    })
    const [layer, reading, decoding] = measurements as [Measurement, Measurement, Measurement]
    expect(layer.rows[1]!.seconds).toEqual([NaN, NaN, NaN])
    expect(reading.rows[4]!.seconds).toEqual([0.4, 0.4, 0.4])
    expect(decoding.rows[4]!.seconds).toEqual([0.4, NaN, NaN])
    expect(decoding.rows[3]!.seconds).toEqual([0.4, 0.4, 0.4])
  })

  test('stops on request, and leaves no worker', async () => {
    const controller = new AbortController()
    answer = (script, method, args, open) => {
      if (method === 'decode') controller.abort()
      return works(script, method, args, open)
    }
    await expect(run(versions, controller.signal)).rejects.toThrow(/abort/)
  })
})
