import { expect, test } from 'vitest'
import { MixtureOfAutoregressiveAttention } from '../../src/model/layer.js'
import { Tensor } from '../../src/tensor.js'
import { countRuns } from '../support/interruptions.js'
import { loadNovels } from '../support/models.js'
import { openRuntime } from '../support/runtimes.js'

/**
 * How often a timer of 1 ms fires while `work` runs, again and again until it has done so a few times: a fast machine may
 * be through in a few turns. Between two of them the event loop does not turn.
 */
async function ticksDuring(work: () => Promise<unknown>): Promise<number> {
  let ticks = 0
  const timer = setInterval(() => ticks++, 1)
  for (let times = 0; times < 20 && ticks <= 3; times++) await work()
  clearInterval(timer)
  return ticks
}

test('on one thread, a long forward lets timers fire between its chunks', async () => {
  using runtime = openRuntime('baseline')
  const layer = new MixtureOfAutoregressiveAttention(runtime, {
    dim: 256,
    numRoutedQueries: 8,
    numRoutedKeyValues: 32,
    localAttnWindowSize: 64,
  })
  expect(await ticksDuring(() => layer.forward(Tensor.randn([1, 4000, 256])))).toBeGreaterThan(3)
})

test('on one thread, tokens generated in a row let timers fire between them', async () => {
  using runtime = openRuntime('baseline')
  const model = await loadNovels(runtime)
  const generate = async () => {
    for await (const token of model.generate('The old captain', { maxTokens: 200, seed: 1, ignoreEos: true }))
      expect(token.id).toBeGreaterThanOrEqual(0)
  }
  expect(await ticksDuring(generate)).toBeGreaterThan(3)
})

test('on one thread, a generation can be aborted from a timer', async () => {
  using runtime = openRuntime('baseline')
  const model = await loadNovels(runtime)
  const controller = new AbortController()
  setTimeout(() => controller.abort(new Error('enough')), 20)
  const options = { maxTokens: Infinity, ignoreEos: true, signal: controller.signal }
  const generate = async () => {
    for await (const token of model.generate('The old captain', options)) expect(token.id).toBeGreaterThanOrEqual(0)
  }
  await expect(generate()).rejects.toThrow('enough')
})

test('long coordinate descents are split into more slices, top-k selections are not', async () => {
  using runtime = openRuntime('baseline')
  const sizes = {
    dim: 8,
    heads: 1,
    dimHead: 8,
    numExperts: 1,
    numRoutedQueries: 2,
    numRoutedKeyValues: 2,
    localAttnWindowSize: 32,
  } as const
  const x = Tensor.randn([1, 3200, 8])
  const runsOf = async (nIters: number, selection: 'coordinate-descent' | 'top-k') => {
    const layer = new MixtureOfAutoregressiveAttention(runtime, { ...sizes, nIters, selection })
    const runs = await countRuns(runtime, () => layer.forward(x))
    layer.dispose()
    return runs
  }
  expect(await runsOf(4096, 'coordinate-descent')).toBeGreaterThan(20 + (await runsOf(20, 'coordinate-descent')))
  expect(await runsOf(4096, 'top-k')).toBe(await runsOf(20, 'top-k'))
})
