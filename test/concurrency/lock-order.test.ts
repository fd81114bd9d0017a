/**
 * Mutexes are acquired in one order, whatever calls overlap, so none can deadlock (ARCHITECTURE.md, the
 * order of locks).
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { MixtureOfAutoregressiveAttention } from '../../src/model/layer.js'
import { Mutex } from '../../src/mutex.js'
import { Tensor } from '../../src/tensor.js'
import { leaveOften } from '../support/leaving.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, loadSmallModel, publishedConfig, randomTokens } from '../support/small-models.js'

const held = new AsyncLocalStorage<readonly Mutex[]>()

/** Records which mutexes are held where another is taken. */
function watchMutexes(): ReadonlyMap<Mutex, Set<Mutex>> {
  const takenUnder = new Map<Mutex, Set<Mutex>>()
  const { runExclusive } = Mutex.prototype
  vi.spyOn(Mutex.prototype, 'runExclusive').mockImplementation(function (this: Mutex, work, interrupt, options) {
    const outer = held.getStore() ?? []
    const known = takenUnder.get(this) ?? new Set()
    takenUnder.set(this, known)
    for (const mutex of outer) known.add(mutex)
    return runExclusive.call(this, () => held.run([...outer, this], work), interrupt, options)
  })
  return takenUnder
}

/** A mutex's place: 1 for one that is taken first. Throws where there is no order. */
function depthOf(mutex: Mutex, takenUnder: ReadonlyMap<Mutex, Set<Mutex>>, below: readonly Mutex[] = []): number {
  if (below.includes(mutex)) throw new Error('two mutexes are taken in either order')
  return 1 + Math.max(0, ...[...takenUnder.get(mutex)!].map((outer) => depthOf(outer, takenUnder, [...below, mutex])))
}

afterEach(() => void vi.restoreAllMocks())

describe('mutexes', () => {
  test.each([
    ['causal', causalConfig, 3],
    ['full-sequence', publishedConfig, 2],
  ])('of overlapping calls to a %s model and its sessions are acquired in one order', async (_kind, config, levels) => {
    const runtime = openRuntime('relaxed')
    leaveOften(runtime)
    const model = await loadSmallModel(runtime, config)
    const tokens = randomTokens(40, config.num_tokens)
    const takenUnder = watchMutexes()
    /** Mutexes that are held while a callback runs. */
    const inCallbacks: (readonly Mutex[])[] = []
    const callback = () => void inCallbacks.push(held.getStore() ?? [])

    const [first, second] = [model.createSession(), model.createSession()]
    const generating = async () => {
      const options = { maxTokens: 3, onProgress: callback, logitsProcessor: callback, ignoreEos: true }
      for await (const token of model.generate(tokens, options)) expect(token.id).toBeLessThan(config.num_tokens)
    }
    await Promise.all([
      first.append(tokens),
      first.append([1]),
      second.append(tokens, { bits: true }),
      model.forward(tokens),
      model.evaluate(tokens, { chunk: 15, onProgress: callback, onBits: callback }),
      generating(),
    ])
    const depths = [...takenUnder.keys()].map((mutex) => depthOf(mutex, takenUnder))
    expect(Math.max(...depths)).toBe(levels)
    expect(inCallbacks.length).toBeGreaterThan(4)
    // a session's own at most, which nothing is held above
    for (const mutexes of inCallbacks) expect(mutexes.map((mutex) => depthOf(mutex, takenUnder))).toEqual(mutexes.slice(0, 1).map(() => 1))
    await runtime.dispose()
  })

  test('of a layer are those of its device only', async () => {
    const runtime = openRuntime('relaxed')
    leaveOften(runtime)
    const layer = new MixtureOfAutoregressiveAttention(runtime, {
      dim: 16,
      numRoutedQueries: 2,
      numRoutedKeyValues: 3,
      localAttnWindowSize: 8,
    })
    const takenUnder = watchMutexes()
    await Promise.all([layer.forward(Tensor.randn([1, 40, 16])), layer.forward(Tensor.randn([1, 40, 16]))])
    expect([...takenUnder.values()]).toEqual([new Set()])
    await runtime.dispose()
  })

  test('acquired in the wrong order are detected', async () => {
    const takenUnder = watchMutexes()
    const [a, b] = [new Mutex(), new Mutex()]
    await a.runExclusive(() => b.runExclusive(() => Promise.resolve()))
    expect([a, b].map((mutex) => depthOf(mutex, takenUnder))).toEqual([1, 2])
    await b.runExclusive(() => a.runExclusive(() => Promise.resolve()))
    expect(() => depthOf(a, takenUnder)).toThrow('either order')
  })
})
