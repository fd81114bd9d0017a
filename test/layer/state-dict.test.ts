import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { WeightFormat } from '../../src/device/device.js'
import { parseModelConfig, resolveLayerOptions } from '../../src/model/config/config.js'
import { checkStateDict, initialLayerParameters, matchStoredTensors, pick } from '../../src/model/parameters/state-dict.js'
import { planModelWeights } from '../../src/plan/memory/model-weights.js'
import { layerParameters, modelParameters } from '../../src/plan/parameters.js'
import { Tensor } from '../../src/tensor.js'
import { expectThrows } from '../support/errors.js'
import { layerCases, modelCases } from '../support/golden.js'
import { causalConfigs, publishedConfigs } from '../support/small-models.js'
import { runs } from '../support/seed.js'

const config = resolveLayerOptions({
  dim: 6,
  numRoutedQueries: 2,
  numRoutedKeyValues: 3,
  localAttnWindowSize: 4,
  heads: 2,
  dimHead: 4,
  numExperts: 3,
})
const specs = layerParameters(config)
const stateDict = () => initialLayerParameters(config, 1)

it('every value of a parameter is packed exactly once', () => {
  const elements = (lengths: readonly number[]) => lengths.reduce((product, length) => product * length, 1)
  fc.assert(
    fc.property(fc.oneof(causalConfigs, publishedConfigs), (json) => {
      const config = parseModelConfig(json)
      const packed = new Map<string, { rows: Set<number>; count: number; width: number }>()
      for (const { sources, inputs } of planModelWeights(config, () => WeightFormat.Float32).layout.weights) {
        for (const { name, outputs } of sources) {
          const { rows, count } = packed.get(name) ?? { rows: new Set(), count: 0 }
          for (let row = 0; row < outputs.segments * outputs.size; row++) rows.add(outputs.first + row)
          packed.set(name, { rows, count: count + outputs.segments * outputs.size, width: inputs.segments * inputs.size })
        }
      }
      const specs = modelParameters(config)
      expect([...packed.keys()].sort()).toEqual(specs.map(({ name }) => name).sort())
      for (const { name, shape } of specs) {
        const { rows, count, width } = packed.get(name)!
        expect([name, rows.size, count * width, Math.max(...rows)]).toEqual([name, count, elements(shape), count - 1])
      }
    }),
    runs(50),
  )
})

describe('the parameters', () => {
  it('of a layer match the golden cases, by name and shape', () => {
    for (const { options, parameters } of layerCases()) {
      const shapes = new Map([...parameters].map(([name, { shape }]) => [name, shape]))
      expect(new Map(layerParameters(resolveLayerOptions(options)).map(({ name, shape }) => [name, shape]))).toEqual(shapes)
    }
  })

  it('of a model match the golden models, by name and shape', () => {
    for (const { config, parameters } of modelCases()) {
      const shapes = new Map([...parameters].map(([name, { shape }]) => [name, shape]))
      expect(new Map(modelParameters(parseModelConfig(config)).map(({ name, shape }) => [name, shape]))).toEqual(shapes)
    }
  })

  it('of a new layer have the distributions of the PyTorch layer', () => {
    const large = initialLayerParameters({ ...config, dim: 100, heads: 10 }, 7)
    const moments = (name: string) => {
      const { data } = large.get(name)!
      const mean = data.reduce((sum, value) => sum + value, 0) / data.length
      return {
        mean,
        deviation: Math.sqrt(data.reduce((sum, value) => sum + (value - mean) ** 2, 0) / data.length),
        largest: data.reduce((a, b) => Math.max(a, Math.abs(b)), 0),
      }
    }
    const map = moments('attn.to_out.weight') // 40 columns
    expect(map.largest).toBeLessThanOrEqual(1 / Math.sqrt(40))
    expect(map.largest).toBeGreaterThan(0.99 / Math.sqrt(40))
    expect(map.mean).toBeCloseTo(0, 2)
    const token = moments('null_tokens')
    expect(token.mean).toBeCloseTo(0, 0)
    expect(token.deviation).toBeGreaterThan(0.8)
    expect(token.deviation).toBeLessThan(1.2)
    for (const ones of ['local_attn.norm.weight', 'attn.norm.gamma', 'attn.context_norm.gamma'])
      expect(new Set(large.get(ones)!.data)).toEqual(new Set([1]))
    expect(new Set(large.get('local_attn.norm.bias')!.data)).toEqual(new Set([0]))
  })

  it('of a new layer are the same for the same seed, on every machine', () => {
    const { data } = stateDict().get('null_tokens')!
    expect(initialLayerParameters(config, 1)).toEqual(stateDict())
    expect(initialLayerParameters(config, 2)).not.toEqual(stateDict())
    expect(initialLayerParameters(config)).not.toEqual(initialLayerParameters(config))
    // What this code gave when it was written, on Node 20: another engine must give it too.
    expect([...data.slice(0, 3)]).toEqual([-0.39811310172080994, 0.34331297874450684, 0.33180904388427734])
  })

  it('need a seed that is a number', () => {
    expectThrows(() => initialLayerParameters(config, NaN), 'BAD_ARGUMENT')
  })
})

describe('a state dict', () => {
  it('may be a Map or a record, in any order', () => {
    const expected = stateDict()
    expect(checkStateDict(specs, new Map([...stateDict()].reverse()))).toEqual(expected)
    expect([...checkStateDict(specs, Object.fromEntries(stateDict())).keys()]).toEqual(specs.map(({ name }) => name))
  })

  it('may contain the buffers of PyTorch, whatever they hold', () => {
    const buffers = {
      'local_attn.attn_fn.rel_pos.inv_freq': 5,
      'local_attn.attn_fn.rel_pos.scale': null,
      'layers.3.0.local_attn.attn_fn.rel_pos.inv_freq': 0,
      'rotary_emb.inv_freq': 1,
    }
    const dict = { ...Object.fromEntries(stateDict()), ...(buffers as never as Record<string, Tensor>) }
    expect(checkStateDict(specs, dict)).toEqual(stateDict())
  })

  it('that does not match is rejected with all mismatches at once', () => {
    const dict: Record<string, unknown> = Object.fromEntries(stateDict())
    delete dict['null_tokens']
    delete dict['attn.to_q.weight']
    dict['extra.weight'] = Tensor.randn([1])
    dict['attn.null_kv'] = Tensor.randn([2, 3])
    dict['local_attn.norm.bias'] = [0, 0]
    expectThrows(
      () => checkStateDict(specs, dict as never),
      'BAD_WEIGHTS',
      /2 missing: null_tokens \[3, 6\], attn.to_q.weight \[24, 6, 1\]; 1 unexpected: extra.weight; 2 unfit: local_attn.norm.bias \(not a Tensor but an array of length 2\), attn.null_kv \(shape \[2, 3\], not \[2, 3, 2, 1, 4\]\)/,
    )
  })

  it('with very many unknown names lists a few and counts the rest', () => {
    const dict = stateDict()
    for (let i = 0; i < 100_000; i++) dict.set(`layers.${i}.weight`, dict.get('null_tokens')!)
    expectThrows(
      () => checkStateDict(specs, dict),
      'BAD_WEIGHTS',
      /100000 unexpected: layers\.0\.weight, .*layers\.19\.weight and 99980 more$/,
    )
  })

  it('reads nothing from prototypes', () => {
    expectThrows(() => checkStateDict([{ name: 'constructor', shape: [1] }], {}), 'BAD_WEIGHTS', /missing: constructor/)
    expectThrows(() => checkStateDict([], new Map([['toString', Tensor.randn([1])]])), 'BAD_WEIGHTS', /unexpected: toString/)
  })

  it('rejects a tensor whose data went to another thread', () => {
    const dict = stateDict()
    structuredClone(0, { transfer: [dict.get('null_tokens')!.data.buffer as ArrayBuffer] })
    expectThrows(() => checkStateDict(specs, dict), 'BAD_WEIGHTS', /null_tokens \(its data was transferred away\)/)
  })

  it('must be a Map or a record', () => {
    for (const bad of [null, undefined, 5, 'weights', [], new Uint8Array(8), Tensor.randn([1])])
      expectThrows(() => checkStateDict(specs, bad as never), 'BAD_ARGUMENT')
  })

  it('from a file is also checked for dtypes', () => {
    const stored = new Map(specs.map(({ name, shape }) => [name, { dtype: 'F16', shape }]))
    expect(pick(matchStoredTensors(specs, stored), stored)).toEqual(stored)
    stored.set('null_tokens', { dtype: 'I64', shape: [3, 6] })
    expectThrows(() => matchStoredTensors(specs, stored), 'BAD_WEIGHTS', /null_tokens \(I64, not F32, F16, BF16 or F64\)/)
  })
})
