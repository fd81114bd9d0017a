/* How long the built package keeps a Node process alive: while work of its own is under way, and no longer. */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const entry = new URL('../../dist/index.js', import.meta.url)
/** Node's exit code where the event loop is empty and the main module still awaits something. */
const UNSETTLED = 13

interface Ending {
  readonly status: number | null
  readonly signal: string | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs a module with two threads, a layer and an input that takes them some ten milliseconds. */
function run(script: string, ...args: readonly (string | number)[]): Promise<Ending> {
  const module = `
    import { createRuntime, LanguageModel, MixtureOfAutoregressiveAttention, Tensor } from '${entry.href}'
    const [number] = process.argv.slice(1).map(Number)
    const options = { dim: 96, heads: 3, dimHead: 32, numRoutedQueries: 20, numRoutedKeyValues: 40, localAttnWindowSize: 64 }
    const create = async () => {
      const runtime = await createRuntime({ threads: 2 })
      return { runtime, layer: new MixtureOfAutoregressiveAttention(runtime, options, { seed: 1 }) }
    }
    ${script}`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', module, ...args.map(String)], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    timeout: 350_000,
  })
  const ending = { stdout: '', stderr: '' }
  child.stdout.on('data', (data) => (ending.stdout += String(data)))
  child.stderr.on('data', (data) => (ending.stderr += String(data)))
  return new Promise((resolve) => child.on('close', (status, signal) => resolve({ status, signal, ...ending })))
}

test.each([
  ['event loop', 'await new Promise((resolve) => setTimeout(resolve, until - performance.now()))'],
  ['promises', 'while (performance.now() < until) await null'],
])('a process waits for a runtime that is disposed of with pending work, %s turning before', async (_what, wait) => {
  const script = `
      for (let round = 0; round < 8; round++) {
        const { runtime, layer } = await create()
        const pending = layer.forward(Tensor.randn([1, 300 + 50 * (round % 9), 96], 1)).then(() => 'done', ({ code }) => code)
        const until = performance.now() + ((round * 7 + number * 3) % 23) / 2
        ${wait}
        await runtime.dispose()
        if (!['done', 'DISPOSED'].includes(await pending)) throw new Error('neither done nor disposed')
      }
      console.log('reached the end')`
  for (const { status, stdout, stderr } of await Promise.all([run(script, 0), run(script, 1)])) {
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: 'reached the end\n', stderr: '' })
  }
})

test("an application's own error is reported when its runtime is disposed of after it", async () => {
  const script = `
      const { runtime, layer } = await create()
      try {
        const x = Tensor.randn([1, 600, 96], 1)
        const work = async () => { for (;;) await layer.forward(x) }
        const fail = async () => { await new Promise((resolve) => setTimeout(resolve, 50 + number)); throw new Error('my own bug') }
        await Promise.all([work(), fail()])
      } finally {
        await runtime.dispose()
      }`
  for (const { status, stderr } of await Promise.all([run(script, 0), run(script, 7), run(script, 14)])) {
    expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringContaining('my own bug') as string })
  }
})

test('a process stays alive while something is computed or read for it, awaited or not, and ends with its runtimes open', async () => {
  const script = `
      const { runtime, layer } = await create()
      const model = await LanguageModel.load('models/novels-10m', { runtime })
      await model.createSession().append(Array.from({ length: 300 }, (_, i) => i))
      console.log('read')
      for await (const { id } of model.generate([1, 2, 3], { maxTokens: 3 })) console.log('wrote')
      void layer.forward(Tensor.randn([1, 2000, 96], 1)).then(() => console.log('computed'))`
  expect(await run(script)).toEqual({ status: 0, signal: null, stdout: 'read\nwrote\nwrote\nwrote\ncomputed\n', stderr: '' })
})

test.each([
  ['at once', ''],
  ['for the weights', "if (!url.endsWith('safetensors')) return new Response(await readFile('models/novels-10m/' + url.split('/').pop()))"],
])('a process that only waits for a fetch that never settles, %s, ends', async (_when, answer) => {
  const script = `
      const { readFile } = await import('node:fs/promises')
      const { runtime } = await create()
      const fetch = async (url) => {
        ${answer}
        return new Promise(() => {})
      }
      await LanguageModel.load(new URL('https://models.example/novels-10m'), { runtime, fetch })`
  const { status, signal } = await run(script)
  expect({ status, signal }).toEqual({ status: UNSETTLED, signal: null })
})
