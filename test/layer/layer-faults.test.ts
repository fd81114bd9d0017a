import { describe, expect, test } from 'vitest'
import type { Runtime } from '../../src/device/runtime.js'
import { RoutedAttentionError } from '../../src/errors.js'
import type { LayerOptions } from '../../src/model/config/config.js'
import { type ForwardOptions, MixtureOfAutoregressiveAttention } from '../../src/model/layer.js'
import { Tensor } from '../../src/tensor.js'
import { makeParameters } from '../support/arbitraries.js'
import { expectSameBits } from '../support/bits.js'
import { expectRejects, expectThrows } from '../support/errors.js'
import { openRuntime } from '../support/runtimes.js'
import { isEmptyRecord, kindNames, kinds, long, makeLayer, misfits, published, rotaryEmb, strangers, x } from '../support/small-layers.js'

// Time is no promise of these tests: the machine may be busy.

describe('a layer is not made', () => {
  test.each([...strangers, ['undefined', undefined] as const])('with %s instead of a runtime', (_name, runtime) => {
    expectThrows(() => makeLayer(runtime as Runtime), 'BAD_ARGUMENT', /runtime/)
  })

  test.each(misfits)('when an option is %s', (_name, value) => {
    using runtime = openRuntime('baseline')
    const names = Object.keys(makeLayer(runtime).options)
    expect(names).toContain('selection')
    for (const name of [...names, 'dropout', 'useTriton', 'flashAttn']) {
      expectThrows(() => makeLayer(runtime, { ...published, [name]: value }), 'BAD_CONFIG', new RegExp(name))
    }
  })

  test('when an option is unknown, or incompatible with another', () => {
    using runtime = openRuntime('baseline')
    const unfit: Record<string, unknown>[] = [
      { num_experts: 2 },
      { dimHead: 7 },
      { localAttnWindowSize: 0, routedWindowSize: null },
      { causal: true },
      { causal: true, selection: 'top-k', straightThrough: false },
      { causal: true, selection: 'top-k', averageRouted: true },
    ]
    for (const options of unfit) expectThrows(() => makeLayer(runtime, { ...published, ...options }), 'BAD_CONFIG')
  })

  test.each([...strangers, ['undefined', undefined] as const])('with %s as its options', (_name, options) => {
    using runtime = openRuntime('baseline')
    const isRecord = isEmptyRecord(options) || ArrayBuffer.isView(options)
    const make = () => new MixtureOfAutoregressiveAttention(runtime, options as LayerOptions)
    expectThrows(make, isRecord ? 'BAD_CONFIG' : 'BAD_ARGUMENT')
  })

  test('with a seed that is not a finite number, and leaks no memory', () => {
    using runtime = openRuntime('baseline')
    const before = runtime.info.memory.used
    for (const seed of [null, NaN, Infinity, '1', 1n, {}, Symbol('x')]) {
      expectThrows(() => makeLayer(runtime, published, seed as number), 'BAD_ARGUMENT', /seed/)
    }
    for (const init of [null, 5, 'seed', true]) {
      expectThrows(() => new MixtureOfAutoregressiveAttention(runtime, published, init as never), 'BAD_ARGUMENT')
    }
    const misspelt = () => new MixtureOfAutoregressiveAttention(runtime, published, { sed: 1 } as never)
    expectThrows(misspelt, 'BAD_ARGUMENT', /third argument knows no option "sed" \(did you mean 'seed'\?\)/)
    expect(runtime.info.memory.used).toBe(before)
  })

  const tooLarge: [string, LayerOptions][] = [
    ['channels', { ...published, dim: 2 ** 24, heads: 1, dimHead: 2 }],
    ['heads', { ...published, dim: 1, heads: 2 ** 24, dimHead: 2 }],
    ['channels and heads', { ...published, dim: 4096, heads: 4096, dimHead: 2 }],
  ]
  test.each(tooLarge)('with more %s than any memory holds, and the runtime is still usable', async (_name, options) => {
    using runtime = openRuntime('baseline')
    const { memory } = runtime.info
    expectThrows(() => makeLayer(runtime, options), 'OUT_OF_MEMORY', /bytes/)
    expect(runtime.info.memory).toEqual(memory)
    expect((await makeLayer(runtime).forward(x)).shape).toEqual(x.shape)
  })

  test('with more parameters than a memory addresses', () => {
    using runtime = openRuntime('baseline')
    expectThrows(() => makeLayer(runtime, { ...published, dim: 2 ** 24, dimHead: 2 ** 24 }), 'BAD_CONFIG', /parameters/)
  })
})

describe('a layer', () => {
  test('has options that cannot be changed', () => {
    using runtime = openRuntime('baseline')
    const layer = makeLayer(runtime)
    expect(() => Object.assign(layer.options, { dim: 1000 })).toThrow()
    expect(layer.options.dim).toBe(12)
  })

  test.each([
    ...strangers,
    ['undefined', undefined] as [string, unknown],
    ['an object with data and shape', { ...x }] as [string, unknown],
  ])('rejects %s as its input', async (_name, input) => {
    using runtime = openRuntime('baseline')
    await expectRejects(makeLayer(runtime).forward(input as Tensor), 'BAD_ARGUMENT', /x must be a Tensor/)
  })

  test.each(strangers)('rejects %s as the options of a call', async (_name, value) => {
    using runtime = openRuntime('baseline')
    const call = makeLayer(runtime).forward(x, value as ForwardOptions)
    if (isEmptyRecord(value)) expect(await call).toHaveProperty('shape', x.shape)
    else await expectRejects(call, 'BAD_ARGUMENT', /options must|knows no option/)
  })

  test.each(misfits)('rejects %s as an option of a call', async (_name, value) => {
    using runtime = openRuntime('baseline')
    const layer = makeLayer(runtime)
    for (const name of ['rotaryEmb', 'numRoutedQueries', 'numRoutedKeyValues', 'trace']) {
      await expectRejects(layer.forward(x, { [name]: value } as ForwardOptions), 'BAD_ARGUMENT', new RegExp(name))
    }
  })

  test('accepts null for options of a call that may be absent, and for no others', async () => {
    using runtime = openRuntime('baseline')
    const layer = makeLayer(runtime)
    const absent = { rotaryEmb: null, numRoutedQueries: null, numRoutedKeyValues: null }
    expectSameBits(await layer.forward(x, absent), await layer.forward(x))
    await expectRejects(layer.forward(x, { trace: null } as never), 'BAD_ARGUMENT', /trace/)
    await expectRejects(layer.forward(x, { trace: 1 } as never), 'BAD_ARGUMENT', /trace/)
    await expectRejects(layer.forward(x, { rotaryEmb: true } as never), 'BAD_ARGUMENT', /rotaryEmb/)
  })

  test('rejects overrides that are not positive integers, and unknown options', async () => {
    using runtime = openRuntime('baseline')
    const layer = makeLayer(runtime)
    for (const number of [0, -1, 1.5, Infinity, -Infinity, 2 ** 53]) {
      await expectRejects(layer.forward(x, { numRoutedQueries: number }), 'BAD_ARGUMENT', /numRoutedQueries must be an integer from 1/)
      await expectRejects(layer.forward(x, { numRoutedKeyValues: number }), 'BAD_ARGUMENT', /numRoutedKeyValues must be an integer from 1/)
    }
    await expectRejects(layer.forward(x, { rotary_emb: rotaryEmb } as ForwardOptions), 'BAD_ARGUMENT', /"rotary_emb".*rotaryEmb/)
    await expectRejects(layer.forward(x, rotaryEmb as ForwardOptions), 'BAD_ARGUMENT')
  })

  test('rejects tensors of other shapes, naming both shapes', async () => {
    using runtime = openRuntime('baseline')
    const layer = makeLayer(runtime)
    for (const shape of [[], [12], [45, 12], [2, 45, 13], [2, 45, 1], [2, 45, 12, 1], [0], [0, 0, 11]]) {
      await expectRejects(layer.forward(Tensor.zeros(shape)), 'BAD_SHAPE', /x must have shape \[batch, n, 12\], got/)
    }
    for (const shape of [[], [45], [44, 6], [45, 7], [45, 24], [6, 45], [1, 45, 6], [2, 45, 6], [0, 6]]) {
      await expectRejects(
        layer.forward(x, { rotaryEmb: Tensor.zeros(shape) }),
        'BAD_SHAPE',
        /rotaryEmb must have shape \[45, 6\] or \[45, 12\]/,
      )
    }
  })

  test('rejects tensors whose values were transferred away', async () => {
    using runtime = openRuntime('baseline')
    const layer = makeLayer(runtime)
    const gone = (shape: number[]) => {
      const tensor = Tensor.randn(shape)
      structuredClone(tensor.data, { transfer: [tensor.data.buffer as ArrayBuffer] })
      return tensor
    }
    await expectRejects(layer.forward(gone([2, 45, 12])), 'BAD_SHAPE', /x/)
    await expectRejects(layer.forward(x, { rotaryEmb: gone([45, 6]) }), 'BAD_SHAPE', /rotaryEmb/)
    expect((await layer.forward(gone([2, 0, 12]), { rotaryEmb: gone([0, 6]) })).shape).toEqual([2, 0, 12])
    const dict = makeParameters(published, 1)
    dict.set('null_tokens', gone([2, 12]))
    expectThrows(() => layer.loadStateDict(dict), 'BAD_WEIGHTS', /null_tokens/)
  })

  test.each(kindNames)(
    'that needs more memory than available (%s) says so, releases what it allocated, and remains usable',
    async (kind) => {
      using runtime = openRuntime('baseline')
      const options = {
        ...kinds[kind],
        dim: 1,
        heads: 8,
        dimHead: 64,
        localAttnWindowSize: 2 ** 24,
        routedWindowSize: 1,
        numRoutedKeyValues: 2 ** 24,
      }
      const layer = makeLayer(runtime, options)
      const short = Tensor.randn([1, 30, 1], 1)
      const expected = await layer.forward(short)
      const before = runtime.info.memory.used
      const endless = Tensor.zeros([1, 2 ** 20, 1])
      for (const call of [{}, { numRoutedKeyValues: 1 }, { trace: true }]) {
        await expectRejects(layer.forward(endless, call), 'OUT_OF_MEMORY', /\d+ (bytes|values)/)
        expect(runtime.info.memory.used).toBe(before)
      }
      expectSameBits(await layer.forward(short), expected)
    },
  )

  test('rejects a bad state dict, listing all that is wrong, and keeps its parameters', async () => {
    using runtime = openRuntime('baseline')
    const layer = makeLayer(runtime)
    const before = await layer.forward(x)
    const { used } = runtime.info.memory
    const dict = makeParameters(published, 2)
    dict.delete('attn.null_kv')
    dict.delete('local_attn.norm.bias')
    dict.set('attn.to_q.bias', Tensor.zeros([24]))
    dict.set('local_attn.to_out.weight', Tensor.zeros([12, 13]))
    dict.set('null_tokens', { data: new Float32Array(24), shape: [2, 12] })
    let message = ''
    try {
      layer.loadStateDict(dict)
    } catch (error) {
      expect(error).toBeInstanceOf(RoutedAttentionError)
      message = (error as RoutedAttentionError).message
    }
    for (const name of ['attn.null_kv', 'local_attn.norm.bias', 'attn.to_q.bias', 'local_attn.to_out.weight', 'null_tokens']) {
      expect(message).toContain(name)
    }
    for (const [, value] of [...strangers, ['undefined', undefined], ['a Tensor', x]] as const) {
      expectThrows(() => layer.loadStateDict(value as never), isEmptyRecord(value) ? 'BAD_WEIGHTS' : 'BAD_ARGUMENT')
      const one = new Map(makeParameters(published, 2)).set('null_tokens', value as Tensor)
      expectThrows(() => layer.loadStateDict(one), 'BAD_WEIGHTS', /null_tokens/)
    }
    const oddNames = new Map<unknown, Tensor>([...makeParameters(published, 2), [null, x], [5, x], [Symbol('x'), x]])
    expectThrows(() => layer.loadStateDict(oddNames as never), 'BAD_WEIGHTS', /null/)
    expect(runtime.info.memory.used).toBe(used)
    expectSameBits(await layer.forward(x), before)
  })

  test.each(kindNames)('returns tensors that the caller owns, and does not modify its inputs (%s)', async (kind) => {
    using runtime = openRuntime('baseline')
    const layer = makeLayer(runtime, kinds[kind])
    const dict = Object.freeze(Object.fromEntries(makeParameters(published, 4)))
    const copies = Object.values(dict).map(({ data }) => data.slice())
    layer.loadStateDict(dict)
    Object.values(dict).forEach(({ data }, i) => expect(data).toEqual(copies[i]))
    const input = new Tensor(x.data.slice(), x.shape)
    const angles = new Tensor(rotaryEmb.data.slice(), rotaryEmb.shape)
    const call = Object.freeze({ rotaryEmb: angles, trace: true as const })

    const first = await layer.forward(input, call)
    expect(input).toEqual(x)
    expect(angles).toEqual(rotaryEmb)
    const kept = structuredClone(first.out.data)
    expect(first.out.data.buffer).toBeInstanceOf(ArrayBuffer)
    for (const { data } of Object.values(dict)) data.fill(NaN)
    for (const { data } of [first.out, first.localOut, first.routedQueries, first.keyValueIndices]) data.fill(NaN)
    const second = await layer.forward(input, call)
    expect(second.out.data).toEqual(kept)
    expect((await layer.forward(input, { rotaryEmb: angles })).data).toEqual(kept)
    expect(second.out.data).toEqual(kept)
  })

  test.each(kindNames)('uses its inputs as they were at the call (%s)', async (kind) => {
    using runtime = openRuntime('baseline')
    const layer = makeLayer(runtime, kinds[kind])
    const input = new Tensor(long.data.slice(), long.shape)
    const angles = Tensor.randn([600, 6], 5)
    const expected = await layer.forward(long, { rotaryEmb: Tensor.randn([600, 6], 5) })
    const pending = layer.forward(input, { rotaryEmb: angles })
    input.data.fill(NaN)
    angles.data.fill(NaN)
    expectSameBits(await pending, expected)
  })

  test.each(kindNames)('gives empty tensors for an empty batch and an empty sequence (%s)', async (kind) => {
    using runtime = openRuntime('baseline')
    const layer = makeLayer(runtime, kinds[kind])
    for (const shape of [
      [0, 45, 12],
      [3, 0, 12],
      [0, 0, 12],
    ]) {
      expect(await layer.forward(Tensor.zeros(shape), { rotaryEmb: Tensor.zeros([shape[1]!, 6]) })).toEqual(Tensor.zeros(shape))
      const trace = await layer.forward(Tensor.zeros(shape), { trace: true })
      expect([trace.out, trace.localOut]).toEqual([Tensor.zeros(shape), Tensor.zeros(shape)])
      const windows = shape[1] === 0 ? 0 : 5
      expect(trace.routedQueries.shape).toEqual([shape[0], windows, 2, 8])
      expect(trace.keyValueIndices.shape).toEqual([shape[0], windows, 2, windows && 7])
    }
  })
})
