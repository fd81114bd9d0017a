import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { RoutedAttentionError } from '../../src/errors.js'
import { assumedDefaults, type LayerOptions, parseModelConfig, resolveLayerOptions } from '../../src/model/config/config.js'
import { configKey } from '../../src/model/config/config-keys.js'
import { LAYER_OPTIONS, MODEL_OPTIONS, type OptionSpec } from '../../src/model/config/schema.js'
import { layerParameters, modelParameters } from '../../src/plan/parameters.js'
import { expectThrows } from '../support/errors.js'
import { foreignKeys } from '../support/foreign-config-keys.js'
import { runs } from '../support/seed.js'

const options: LayerOptions = { dim: 512, numRoutedQueries: 5, numRoutedKeyValues: 7, localAttnWindowSize: 32 }
const json = { num_tokens: 50, dim: 32, depth: 2, num_routed_queries: 5, num_routed_key_values: 9, local_attn_window_size: 16 }

describe('layer options', () => {
  it('get the defaults of the PyTorch layer', () => {
    expect(resolveLayerOptions(options)).toEqual({
      ...options,
      routedWindowSize: 32,
      numExperts: 2,
      dimHead: 64,
      heads: 8,
      prenorm: true,
      averageRouted: false,
      cosineSimRouting: false,
      cosineSimScale: 8,
      nIters: 20,
      fetchKRatio: 9 / 8,
      eps: 0.03,
      epsInit: 4,
      epsDecay: 0.7,
      straightThrough: true,
      selection: 'coordinate-descent',
      causal: false,
    })
  })

  it('may be undefined, which counts as absent', () => {
    expect(resolveLayerOptions({ ...options, heads: undefined, eps: undefined } as unknown as LayerOptions)).toEqual(
      resolveLayerOptions(options),
    )
  })

  it('may include those without effect here', () => {
    const ignored = { dropout: 0.1, useTriton: null, flashAttn: true }
    expect(resolveLayerOptions({ ...options, ...ignored })).toEqual(resolveLayerOptions(options))
  })

  it('that are unknown are all listed, with the nearest known names', () => {
    const misspelt = { ...options, numExpert: 3, num_heads: 2, dim_head: 8, zzzzzzzzzz: 1 } as LayerOptions
    expectThrows(
      () => resolveLayerOptions(misspelt),
      'BAD_CONFIG',
      /"numExpert" \(did you mean 'numExperts'\?\), "num_heads" .*"dim_head" \(did you mean 'dimHead'\?\), "zzzzzzzzzz"$/,
    )
  })

  it('are named when one is missing or of another type', () => {
    expectThrows(() => resolveLayerOptions({ dim: 512 } as LayerOptions), 'BAD_CONFIG', /localAttnWindowSize is missing/)
    expectThrows(() => resolveLayerOptions({ ...options, dim: '512' as never }), 'BAD_CONFIG', /dim must be an integer from 1 .*got "512"/)
    expectThrows(() => resolveLayerOptions({ ...options, prenorm: 1 as never }), 'BAD_CONFIG', /prenorm must be true or false; got 1/)
  })

  const unfit: [string, Partial<Record<keyof LayerOptions, unknown>>][] = [
    ['sizes below 1', { dim: 0 }],
    ['fractions', { heads: 1.5 }],
    ['sizes beyond any use', { numRoutedQueries: 2 ** 24 + 1 }],
    ['a negative window', { localAttnWindowSize: -1 }],
    ['no window at all', { localAttnWindowSize: 0 }],
    ['an empty routed window', { routedWindowSize: 0 }],
    ['an odd dimHead', { dimHead: 33 }],
    ['null', { heads: null }],
    ['a big integer', { heads: 8n }],
    ['NaN', { eps: NaN }],
    ['an infinite number', { cosineSimScale: Infinity }],
    ['a number that float32 takes for infinity', { cosineSimScale: 1e39 }],
    ['a number that float32 takes for zero', { eps: 1e-60 }],
    ['no passes', { nIters: 0 }],
    ['more passes than any descent needs', { nIters: 4097 }],
    ['a ratio of 0', { fetchKRatio: 0 }],
    ['a growing temperature', { epsDecay: 1.01 }],
    ['an unknown selection', { selection: 'top-p' }],
    ['a dropout above 1', { dropout: 1.1 }],
    ['more parameters than memory holds', { dim: 2 ** 20 }],
    ['causal without top-k', { causal: true }],
    ['causal with soft scores', { causal: true, selection: 'top-k', straightThrough: false }],
    ['causal and averaged', { causal: true, selection: 'top-k', averageRouted: true }],
  ]
  it.each(unfit)('reject %s', (_, change) => {
    expectThrows(() => resolveLayerOptions({ ...options, ...change } as LayerOptions), 'BAD_CONFIG')
  })

  it('must be an object', () => {
    for (const bad of [null, undefined, 5, 'x', []]) expectThrows(() => resolveLayerOptions(bad as never), 'BAD_ARGUMENT')
  })

  it('accept null for a routed window as wide as the local one, and a width if there is no local one', () => {
    expect(resolveLayerOptions({ ...options, routedWindowSize: null }).routedWindowSize).toBe(32)
    expect(resolveLayerOptions({ ...options, localAttnWindowSize: 0, routedWindowSize: 9 })).toMatchObject({
      localAttnWindowSize: 0,
      routedWindowSize: 9,
    })
  })
})

describe('config.json', () => {
  it('of novels-10m is read', () => {
    const shipped: unknown = JSON.parse(readFileSync('models/novels-10m/config.json', 'utf8'))
    const { layer, ...rest } = parseModelConfig(shipped)
    expect(rest).toEqual({ numTokens: 4096, depth: 6, feedForwardMultiplier: 4, routedRotaryEmb: false, maxPositions: null })
    expect(layer).toMatchObject({
      dim: 256,
      heads: 4,
      numRoutedQueries: 32,
      numRoutedKeyValues: 128,
      causal: true,
      selection: 'top-k',
      cosineSimRouting: true,
    })
  })

  it('gets defaults, and unknown keys are ignored', () => {
    expect(parseModelConfig({ ...json, model_type: 5, architectures: ['x'], constructor: {}, heads: 4 })).toEqual({
      layer: resolveLayerOptions({ dim: 32, numRoutedQueries: 5, numRoutedKeyValues: 9, localAttnWindowSize: 16, heads: 4 }),
      numTokens: 50,
      depth: 2,
      feedForwardMultiplier: 4,
      routedRotaryEmb: false,
      maxPositions: null,
    })
  })

  it('lists the routed blocks in ascending order, and omits the list if all are', () => {
    const blocks = (routed_layers: unknown) => parseModelConfig({ ...json, depth: 4, routed_layers })
    expect(blocks([3, 1]).routedLayers).toEqual([1, 3])
    expect(blocks([]).routedLayers).toEqual([])
    for (const all of [null, undefined, [0, 1, 2, 3]]) expect(blocks(all)).not.toHaveProperty('routedLayers')
    const names = modelParameters(blocks([1])).map(({ name }) => name)
    expect(names.filter((name) => name.startsWith('layers.0.0.'))).toEqual(
      ['norm.weight', 'norm.bias', 'to_qkv.weight', 'to_out.weight'].map((name) => `layers.0.0.local_attn.${name}`),
    )
    expect(names).toContain('layers.1.0.null_tokens')
  })

  const unfit: [string, Record<string, unknown>][] = [
    ['a block that there is not', { routed_layers: [2] }],
    ['a block that is none', { routed_layers: [0.5] }],
    ['a block twice', { routed_layers: [1, 1] }],
    ['blocks that are not in a list', { routed_layers: 1 }],
    ['a missing size', { num_tokens: undefined }],
    ['a size as text', { depth: '2' }],
    ['an empty position table', { max_positions: 0 }],
    ['a fractional multiplier', { ff_mult: 2.5 }],
    ['no multiplier', { ff_mult: null }],
    ['more blocks than any model has', { depth: 1e9 }],
    ['more parameters than memory holds', { num_tokens: 2 ** 24, dim: 2 ** 24 }],
    ['a number beyond all others', { dim: 1e308 }],
    ['an option of the layer that does not fit', { n_iters: -1 }],
    ['more passes than any descent needs', { n_iters: 4097 }],
  ]
  it.each(unfit)('rejects %s', (_, change) => {
    expectThrows(() => parseModelConfig({ ...json, ...change }), 'BAD_CONFIG', /config\.json/)
  })

  it('reads nothing from prototypes', () => {
    expectThrows(() => parseModelConfig(Object.create(json)), 'BAD_CONFIG', /missing/)
    expectThrows(() => parseModelConfig(JSON.parse(`{"__proto__": ${JSON.stringify(json)}}`)), 'BAD_CONFIG', /missing/)
  })

  const slips: [string, string][] = [
    ['cosine_sim_routng', 'cosine_sim_routing'],
    ['cosine_sim_routings', 'cosine_sim_routing'],
    ['consine_sim_scale', 'cosine_sim_scale'],
    ['cosineSimRouting', 'cosine_sim_routing'],
    ['Cosine-Sim-Routing', 'cosine_sim_routing'],
    ['routed_rotary_embs', 'routed_rotary_emb'],
    ['max_position', 'max_positions'],
    ['num_expert', 'num_experts'],
    ['straigth_through', 'straight_through'],
    ['use_tritton', 'use_triton'],
    ['dimHead', 'dim_head'],
    ['seqLen', 'seq_len'],
  ]
  it.each(slips)('with the key %s is rejected, and %s is named', (slip, meant) => {
    expectThrows(() => parseModelConfig({ ...json, [slip]: 1 }), 'BAD_CONFIG', new RegExp(`"${slip}" \\(did you mean "${meant}"`))
  })

  it('with misspelled keys is rejected, listing all of them', () => {
    let error: unknown
    try {
      parseModelConfig({ ...json, prenorms: 1, num_token: 50, eps_deca: 1 })
    } catch (thrown) {
      error = thrown
    }
    // prenorm has too few letters: another name may be as near by chance
    expect(error).toMatchObject({ code: 'BAD_CONFIG', names: ['num_token', 'eps_deca'] })
  })

  it('with a hundred thousand nearly known keys is rejected quickly', () => {
    const near = Object.fromEntries(Array.from({ length: 100_000 }, (_, at) => [`num_routed_querie${String.fromCharCode(256 + at)}`, 1]))
    expectThrows(() => parseModelConfig({ ...json, ...near }), 'BAD_CONFIG', /and \d+ more are not known keys/)
  })

  it.each(Object.entries(foreignKeys))('may have the keys of %s in addition to its own', (_, keys) => {
    const ours = new Set([
      ...Object.keys(json),
      'heads',
      'dropout',
      'prenorm',
      'eps',
      'num_experts',
      'seq_len',
      'depth',
      'dim_head',
      'flash_attn',
      'causal',
      'quantization_config',
    ])
    const foreign = keys.filter((key) => !ours.has(key))
    expect(parseModelConfig({ ...json, ...Object.fromEntries(foreign.map((key) => [key, 'x'])) })).toEqual(parseModelConfig(json))
  })

  it('of another kind of model is reported as such', () => {
    const gpt2 = {
      model_type: 'gpt2',
      architectures: ['GPT2LMHeadModel'],
      vocab_size: 50257,
      n_embd: 768,
      n_layer: 12,
      n_head: 12,
      n_positions: 1024,
    }
    expectThrows(
      () => parseModelConfig(gpt2),
      'BAD_CONFIG',
      /^config\.json is of another kind of model \(vocab_size, n_embd, n_layer, n_head, model_type "gpt2"\).* num_tokens, depth, dim, .* are missing/,
    )
    for (const keys of Object.values(foreignKeys))
      expectThrows(
        () => parseModelConfig(Object.fromEntries(keys.map((key) => [key, 1]))),
        'BAD_CONFIG',
        /of another kind of model|missing/,
      )
  })

  it('accepts seq_len for max_positions', () => {
    expect(parseModelConfig({ ...json, seq_len: 80 }).maxPositions).toBe(80)
    expect(parseModelConfig({ ...json, seq_len: null }).maxPositions).toBe(null)
    expect(parseModelConfig({ ...json, seq_len: 80, max_positions: 80 }).maxPositions).toBe(80)
    expectThrows(() => parseModelConfig({ ...json, seq_len: 80, max_positions: 81 }), 'BAD_CONFIG', /two names of one thing.* 81 and 80/)
    expectThrows(() => parseModelConfig({ ...json, seq_len: 80, max_positions: null }), 'BAD_CONFIG', /null and 80/)
    expectThrows(() => parseModelConfig({ ...json, seq_len: '80' }), 'BAD_CONFIG', /seq_len must be an integer/)
  })

  it('may omit what has a default', () => {
    const config = parseModelConfig(json)
    const { routed_window_size, max_positions, ...rest } = assumedDefaults(config, json)
    expect({ routed_window_size, max_positions, ff_mult: rest['ff_mult'] }).toEqual({
      routed_window_size: 16,
      max_positions: null,
      ff_mult: 4,
    })
    // what is stated as it would have been assumed is the same model
    expect(parseModelConfig({ ...json, ...assumedDefaults(config, json) })).toEqual(config)
    expect(assumedDefaults(config, { ...json, ...assumedDefaults(config, json) })).toEqual({})
  })

  it('is rejected as BAD_CONFIG, whatever else it contains', () => {
    const values = fc.oneof(
      fc.jsonValue({ maxDepth: 3 }),
      fc.constantFrom(NaN, Infinity, -0, 2 ** 53, 1e-320, '__proto__', null),
      fc.integer({ min: -3, max: 40 }),
    )
    const names = [
      ...Object.keys(json),
      'heads',
      'dim_head',
      'eps',
      'selection',
      'causal',
      'routed_window_size',
      'max_positions',
      'ff_mult',
      '__proto__',
    ]
    const configs = fc.oneof(
      fc.jsonValue(),
      fc.dictionary(fc.constantFrom(...names), values).map((change) => ({ ...json, ...change })),
    )
    fc.assert(
      fc.property(configs, (config) => {
        try {
          const { layer } = parseModelConfig(config)
          expect(Number.isSafeInteger(layer.dim * layer.heads * layer.dimHead)).toBe(true)
        } catch (error) {
          expect(error).toBeInstanceOf(RoutedAttentionError)
          expect((error as RoutedAttentionError).code).toBe('BAD_CONFIG')
        }
      }),
      runs(1000),
    )
  })
})

describe('the schema of the options', () => {
  const python = readFileSync('training/routed_attention_training/options.py', 'utf8')
  const literals: Record<string, unknown> = { True: true, False: false, None: null, '9 / 8': 9 / 8 }

  /** The fields of a dataclass, each with its default; undefined where there is none. */
  function fieldsOf(name: string): Map<string, unknown> {
    const body = python.split(`class ${name}:`)[1]!.split('def ')[0]!
    const fields = body.matchAll(/^ {4}(\w+): [\w[\]]+(?: = (.*))?$/gm)
    return new Map(
      [...fields].map(([, field, value]) => [
        field!,
        value && (value in literals ? literals[value] : JSON.parse(value.replaceAll("'", '"'))),
      ]),
    )
  }

  it.each([
    ['LayerOptions', LAYER_OPTIONS],
    ['ModelOptions', MODEL_OPTIONS],
  ] as const)('has the names and defaults of %s in training/', (name, schema) => {
    // what chooses an implementation means nothing there
    const absent = ['useTriton', 'flashAttn']
    const ours = Object.entries<OptionSpec>(schema).filter(([option]) => !absent.includes(option))
    const theirs = fieldsOf(name)
    theirs.delete('layer')
    expect(theirs).toEqual(
      new Map(ours.map(([option, spec]) => [configKey(option, spec), spec.inherits || spec.isOptional ? null : spec.default])),
    )
  })

  it('has the names and defaults of SPEC section 1', () => {
    const section = readFileSync('docs/SPEC.md', 'utf8').split('\nOptions (PyTorch name, default): ')[1]!.split('\n\n')[0]!
    for (const [option, spec] of Object.entries<OptionSpec>(LAYER_OPTIONS)) {
      const [, text = ''] = section.split(`\`${configKey(option, spec)}\``)
      expect(section).toContain(`\`${configKey(option, spec)}\``)
      const [value] = /^ (?:`'[\w-]+'`|[\w./]*\w)/.exec(text) ?? ['']
      const stated = value.trim().replaceAll(/[`']/g, '').replace('9/8', '1.125')
      if (spec.default !== undefined && spec.default !== null) expect([option, stated]).toEqual([option, String(spec.default)])
    }
  })

  it('describes every option in a phrase', () => {
    for (const [option, { sentence, note = '' }] of Object.entries<OptionSpec>({ ...LAYER_OPTIONS, ...MODEL_OPTIONS }))
      for (const phrase of [sentence, note]) expect([option, phrase]).toEqual([option, expect.not.stringMatching(/\.$|\||\n/)])
  })
})

it('the number of parameters counted before allocation is the actual number', () => {
  const elements = (specs: { shape: readonly number[] }[]) => specs.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0)
  const count = (call: () => unknown) => {
    try {
      call()
      return undefined
    } catch (error) {
      return Number(/ask for (\d+) parameters/.exec((error as Error).message)?.[1])
    }
  }
  const wide = { ...json, dim: 3001, heads: 1001, dim_head: 6, num_experts: 101, num_tokens: 77, max_positions: 13, ff_mult: 3, depth: 3 }
  for (const [prenorm, routed_layers] of [
    [true, null],
    [false, null],
    [true, [1]],
  ]) {
    // As many heads fewer make the same shapes small enough; the count is linear in the heads.
    const small = { ...wide, prenorm, routed_layers, heads: 1 }
    const two = { ...wide, prenorm, routed_layers, heads: 2 }
    const [one, both] = [elements(modelParameters(parseModelConfig(small))), elements(modelParameters(parseModelConfig(two)))]
    expect(count(() => parseModelConfig({ ...wide, prenorm, routed_layers }))).toBe(one + 1000 * (both - one))
  }
  expect(elements(layerParameters(resolveLayerOptions(options)))).toBeLessThan(2 ** 30)
})
