/** The examples of the class's documentation in zeta, transcribed; and where those of docs/platforms are run. */
import { readdirSync, readFileSync } from 'node:fs'
import { afterAll, expect, test, vi } from 'vitest'
import { createRuntime, MixtureOfAutoregressiveAttention, Tensor } from '../src/index.js'

vi.setConfig({ testTimeout: 60_000 })

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
  const read = (name: string) => readFileSync(new URL(`../${name}`, import.meta.url), 'utf8')
  const pages = readdirSync(new URL('../docs/platforms', import.meta.url)).filter((name) => name !== 'README.md')
  expect(pages).toHaveLength(8)
  expect(read('README.md')).toContain('docs/platforms/README.md')
  for (const page of pages) {
    expect(read('docs/platforms/README.md')).toContain(`(${page})`)
    expect(read('test/runtimes/runners/documents.mjs')).toContain(`document('${page.replace('.md', '')}'`)
  }
})
