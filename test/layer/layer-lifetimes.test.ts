import { describe, expect, test, vi } from 'vitest'
import type { Runtime } from '../../src/device/runtime.js'
import { RoutedAttentionError } from '../../src/errors.js'
import { type ForwardOptions, type LayerTrace } from '../../src/model/layer.js'
import { Tensor } from '../../src/tensor.js'
import { makeParameters } from '../support/arbitraries.js'
import { expectSameBits, expectSameTrace } from '../support/bits.js'
import { expectRejects, expectThrows } from '../support/errors.js'
import { afterRun, outcomeOf } from '../support/interruptions.js'
import { openRuntime } from '../support/runtimes.js'
import { causal, kindNames, kinds, long, makeLayer, published, rotaryEmb, x } from '../support/small-layers.js'

// Time is no promise of these tests: the machine may be busy.

describe('a layer', () => {
  test.each(kindNames)('survives memory that runs out at any point of any call (%s)', async (kind) => {
    using runtime = openRuntime('baseline', 2)
    const layer = makeLayer(runtime, kinds[kind])
    const ask = () => layer.forward(x, { rotaryEmb, trace: true })
    const expected = await ask()
    const { used } = runtime.info.memory
    const calls = [
      ask,
      async () => makeLayer(runtime, kinds[kind]).dispose(),
      async () => layer.loadStateDict(makeParameters(published, 9)),
    ]
    for (const call of calls) {
      for (let number = 0; ; number++) {
        const restore = failAllocation(runtime, number)
        const [outcome] = await Promise.allSettled([call()])
        if (!restore()) {
          expect(number).toBeGreaterThan(0)
          expect(outcome.status).toBe('fulfilled')
          break
        }
        expect(outcome).toMatchObject({ reason: { name: 'RoutedAttentionError', code: 'OUT_OF_MEMORY' } })
        expect(runtime.info.memory.used).toBe(used)
        expectSameTrace(await ask(), expected)
      }
    }
    expect(runtime.info.memory.used).toBe(used)
  })

  test.each(kindNames)('releases all memory over a thousand rounds of creation, calls and disposal (%s)', async (kind) => {
    using runtime = openRuntime('relaxed')
    const round = async (seed: number) => {
      const layer = makeLayer(runtime, kinds[kind], seed)
      await layer.forward(Tensor.randn([1, 5 + (seed % 30), 12], seed), { trace: seed % 2 === 0 })
      if (seed % 3 === 0) layer.loadStateDict(makeParameters(published, seed))
      layer.dispose()
    }
    const { used } = runtime.info.memory
    for (let i = 0; i < 30; i++) await round(i)
    const { reserved } = runtime.info.memory
    for (let i = 0; i < 970; i++) await round(i)
    expect(runtime.info.memory).toEqual({ used, reserved })
  })
})

test.each(kindNames)('a forward rejects with the reason of its signal, and releases what it allocated (%s)', async (kind) => {
  using runtime = openRuntime('baseline')
  const layer = makeLayer(runtime, kinds[kind])
  const expected = await layer.forward(long)
  const { used } = runtime.info.memory
  expect(await outcomeOf(layer.forward(long, { signal: AbortSignal.abort('before') }))).toEqual({ reason: 'before' })
  const controller = new AbortController()
  const undo = afterRun(runtime, 1, () => controller.abort('enough'))
  expect(await outcomeOf(layer.forward(long, { signal: controller.signal }))).toEqual({ reason: 'enough' })
  undo()
  expect(runtime.info.memory.used).toBe(used)
  expectSameBits(await layer.forward(long, { signal: new AbortController().signal }), expected)
  for (const signal of [null, 5, {}]) await expectRejects(layer.forward(x, { signal } as never), 'BAD_ARGUMENT', /signal/)
})

describe('overlapping calls', () => {
  test('give the same bits as one after the other', async () => {
    using runtime = openRuntime('relaxed', 2)
    const layers = [
      makeLayer(runtime, published, 1),
      makeLayer(runtime, causal, 2),
      makeLayer(runtime, { ...published, averageRouted: true }, 3),
    ]
    const calls: [Tensor, ForwardOptions][] = [
      [long, {}],
      [x, { rotaryEmb }],
      [long, { numRoutedQueries: 8, numRoutedKeyValues: 90 }],
      [Tensor.randn([1, 8, 12], 7), {}],
      [x, { trace: true }],
    ]
    const all = layers.flatMap((layer) =>
      calls.map(
        ([input, options]) =>
          () =>
            layer.forward(input, options),
      ),
    )
    const { used } = runtime.info.memory
    const expected: (Tensor | LayerTrace)[] = []
    for (const call of all) expected.push(await call())
    const together = await Promise.all(all.map((call) => call()))
    const backwards = (await Promise.all([...all].reverse().map((call) => call()))).reverse()
    for (const results of [together, backwards]) {
      results.forEach((result, i) => expectSameBits(outOf(result), outOf(expected[i]!)))
    }
    expect(runtime.info.memory.used).toBe(used)
  })

  test.each(kindNames)('keep the parameters that they started with when others are loaded (%s)', async (kind) => {
    using runtime = openRuntime('baseline')
    const layer = makeLayer(runtime, kinds[kind])
    const dicts = [makeParameters(published, 1), makeParameters(published, 2)]
    const expected: Tensor[] = []
    for (const dict of dicts) {
      layer.loadStateDict(dict)
      expected.push(await layer.forward(long))
    }
    const { used } = runtime.info.memory
    layer.loadStateDict(dicts[0]!)
    for (const wait of [0, 1, 5, 40, 200]) {
      const pending = layer.forward(long)
      await ticks(wait)
      layer.loadStateDict(dicts[1]!)
      const next = layer.forward(long)
      await ticks(wait)
      layer.loadStateDict(dicts[0]!)
      expectSameBits(await pending, expected[0]!)
      expectSameBits(await next, expected[1]!)
    }
    expectSameBits(await layer.forward(long), expected[0]!)
    expect(runtime.info.memory.used).toBe(used)
  })

  test.each(kindNames)('complete or fail with DISPOSED when their layer is disposed of, and release its memory (%s)', async (kind) => {
    using runtime = openRuntime('baseline')
    const other = makeLayer(runtime, published, 6)
    const [expectedOther, expected] = [await other.forward(long), await makeLayer(runtime, kinds[kind]).forward(long)]
    const { used } = runtime.info.memory
    for (const wait of [0, 1, 2, 3, 5, 20, 100, 300, 5000]) {
      const layer = makeLayer(runtime, kinds[kind])
      const pending = [layer.forward(long), layer.forward(long)]
      const ended = expectRightOrDisposed(pending, expected)
      const beside = other.forward(long)
      await ticks(wait)
      layer.dispose()
      layer.dispose()
      await expectRejects(layer.forward(x), 'DISPOSED', /layer/)
      await ended
      expectSameBits(await beside, expectedOther)
      expect(runtime.info.memory.used).toBe(used)
    }
  })

  test.each(kindNames)('complete or fail with DISPOSED when their runtime is disposed of (%s)', async (kind) => {
    using first = openRuntime('baseline')
    const expected = await makeLayer(first, kinds[kind]).forward(long)
    for (const wait of [0, 1, 2, 3, 5, 20, 100, 300, 5000]) {
      const runtime = openRuntime('baseline')
      const layers = [makeLayer(runtime, kinds[kind]), makeLayer(runtime, kinds[kind])]
      const ended = expectRightOrDisposed(
        layers.map((layer) => layer.forward(long)),
        expected,
      )
      await ticks(wait)
      await runtime.dispose()
      await ended
      expect(runtime.info.memory.used).toBe(0)
    }
  })
})

test('a runtime disposes of everything on it, and disposing again does nothing', async () => {
  const runtime = openRuntime('baseline')
  const layer = makeLayer(runtime)
  const sibling = makeLayer(runtime)
  sibling[Symbol.dispose]()
  sibling.dispose()
  expectThrows(() => sibling.loadStateDict(makeParameters(published, 1)), 'DISPOSED', /layer/)
  await runtime.dispose()
  await runtime.dispose()
  await runtime[Symbol.asyncDispose]()
  runtime[Symbol.dispose]()
  expect(runtime.disposed).toBe(true)
  expect(runtime.info.memory.used).toBe(0)
  await expectRejects(layer.forward(x), 'DISPOSED', /runtime/)
  expectThrows(() => layer.loadStateDict(makeParameters(published, 1)), 'DISPOSED', /runtime/)
  expectThrows(() => makeLayer(runtime), 'DISPOSED', /runtime/)
  layer.dispose()
})

function outOf(result: Tensor | LayerTrace): Tensor {
  return result instanceof Tensor ? result : result.out
}

/** Lets as many promise callbacks run. */
async function ticks(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await Promise.resolve()
}

async function expectRightOrDisposed(calls: readonly Promise<Tensor>[], expected: Tensor): Promise<void> {
  for (const outcome of await Promise.allSettled(calls)) {
    if (outcome.status === 'fulfilled') expectSameBits(outcome.value, expected)
    else expect(outcome.reason).toMatchObject({ name: 'RoutedAttentionError', code: 'DISPOSED' })
  }
}

/**
 * Makes the device refuse an allocation from now on, counted from 0, and all after it. Returns a function that undoes
 * this and says whether it was reached.
 */
function failAllocation(runtime: Runtime, number: number): () => boolean {
  const { device } = runtime
  const allocate = device.allocate.bind(device)
  let count = 0
  const spy = vi.spyOn(device, 'allocate').mockImplementation((byteLength, purpose) => {
    if (count++ >= number) throw new RoutedAttentionError('OUT_OF_MEMORY', `${purpose}: refused by the test`)
    return allocate(byteLength, purpose)
  })
  return () => {
    spy.mockRestore()
    return count > number
  }
}
