import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseSafetensors, toFloat32 } from '../../src/io/safetensors.js'
import { parseModelConfig } from '../../src/model/config/config.js'
import { IntegerDot } from '../../assembly/ir/values.js'
import type { WasmDevice } from '../../src/device/wasm/wasm-device.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { quantizeRows } from '../../src/model/quantization/int8.js'
import { writeQuantizationConfig } from '../../src/model/config/quantization-config.js'
import { quantizeModel } from '../../src/model/quantization/quantize-model.js'
import { runtimeOf } from '../kernels/op-runner.js'
import { referenceModel, withActivationBits } from '../reference/index.js'
import { expectRejects, expectThrows } from '../support/errors.js'
import { findPython } from '../support/python.mjs'
import { widen } from '../support/int8-models.js'
import { narrowModelFiles } from '../support/narrow-models.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, partlyRoutedConfig, publishedConfig, randomTokens, smallModel, smallModelFiles } from '../support/small-models.js'
import { writeSafetensors } from '../support/write-safetensors.js'
import { runs } from '../support/seed.js'

const python = findPython('numpy')

const files = smallModelFiles(smallModel(causalConfig))
const ids = randomTokens(60, causalConfig.num_tokens)

const jsonOf = (bytes: Uint8Array) => JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>
const bytesOf = (json: unknown) => new TextEncoder().encode(JSON.stringify(json))
const tensorsOf = (model: ReadonlyMap<string, Uint8Array>) => parseSafetensors(model.get('model.safetensors')!)

/** A float32 model's files with the same values in another type. */
function withDtype(model: ReadonlyMap<string, Uint8Array>, dtype: 'F32' | 'F64') {
  if (dtype === 'F32') return model
  return withTensors(model, (entries) => {
    for (const entry of Object.values(entries))
      Object.assign(entry, { dtype, bytes: new Uint8Array(Float64Array.from(new Float32Array(entry.bytes.buffer)).buffer) })
  })
}

/** A model's files with other tensors. */
function withTensors(
  model: ReadonlyMap<string, Uint8Array>,
  change: (entries: Record<string, { dtype: string; shape: number[]; bytes: Uint8Array }>) => void,
) {
  const entries = Object.fromEntries(
    [...tensorsOf(model)].map(([name, { dtype, shape, bytes }]) => [name, { dtype, shape: [...shape], bytes: bytes.slice() }]),
  )
  change(entries)
  return new Map([...model, ['model.safetensors', writeSafetensors(entries)]])
}

describe('rows of int8', () => {
  test('are within half a step of the values, reach 127, and never 128', () => {
    const value = fc.float({ min: -1e6, max: 1e6, noNaN: true })
    fc.assert(
      fc.property(fc.array(fc.array(value, { minLength: 3, maxLength: 3 }), { minLength: 1, maxLength: 5 }), (rows) => {
        const values = Float32Array.from(rows.flat())
        const quantized = quantizeRows(values, rows.length)
        rows.forEach((row, index) => {
          const scale = quantized.scales[index]!
          const own = quantized.values.subarray(3 * index, 3 * index + 3)
          expect(scale).toBeGreaterThan(0)
          const largest = Math.max(...row.map(Math.abs))
          if (largest > 1e-30) expect(Math.max(...own.map(Math.abs))).toBe(127)
          row.forEach((x, i) => expect(Math.abs(own[i]! * scale - x)).toBeLessThanOrEqual(scale * (0.5 + 1e-4)))
        })
      }),
      runs(100),
    )
  })

  test('round ties to even, and a row of zeros stays one', () => {
    const { values, scales } = quantizeRows(Float32Array.of(127, 0.5, 1.5, 2.5, -0.5, -1.5, 0, 0, 0, 0, 0, 0), 2)
    expect([...values]).toEqual([127, 0, 2, 2, -0, -2, 0, 0, 0, 0, 0, 0].map((x) => x + 0))
    expect([...scales]).toEqual([1, 1])
  })
})

const rootMeanSquare = (values: Float64Array): number => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length)
const difference = (a: ArrayLike<number>, b: ArrayLike<number>) => Float64Array.from(a, (x, i) => x - b[i]!)

const kinds = [
  ['strictly causal', causalConfig],
  ['partly routed', partlyRoutedConfig],
  ['published', publishedConfig],
] as const

describe('a quantized model', () => {
  describe.each(kinds)('that is %s', (_, config) => {
    test.each([7, 14] as const)(
      'multiplies integers: activations of %s bits, by the weights that it represents',
      async (activationBits) => {
        const quantized = await quantizeModel(smallModelFiles(smallModel(config)), { activationBits })
        const { config: json, parameters } = widen(quantized)
        const float = referenceModel(json, parameters, ids).data
        const expected = withActivationBits(activationBits, () => referenceModel(json, parameters, ids).data)
        using runtime = openRuntime('baseline')
        const model = await LanguageModel.load(quantized, { runtime })
        const { data } = await model.forward(ids)
        // float32 may fall on the other side of a tie, in a value here and there
        const rounding = rootMeanSquare(difference(expected, float))
        expect(rounding).toBeGreaterThan(0)
        expect(rootMeanSquare(difference(data, expected))).toBeLessThan(activationBits === 7 ? 0.4 * rounding : rounding + 1e-5)
        expect(rootMeanSquare(difference(data, float))).toBeLessThan((activationBits === 7 ? 0.05 : 0.001) * rootMeanSquare(float))
      },
    )

    test('has the same bits however it is computed', async () => {
      const quantized = await quantizeModel(smallModelFiles(smallModel(config)))
      let expected: Float32Array | undefined
      for (const partitions of [1, 2, 3]) {
        // which emulates relaxed SIMD, for its int8 products
        const runtime = runtimeOf('checked-baseline', partitions)
        const device = runtime.device as WasmDevice
        const model = await LanguageModel.load(quantized, { runtime })
        for (const tile of [IntegerDot.Int16x2, IntegerDot.Int8x4, IntegerDot.Int8x2x2]) {
          for (const row of [IntegerDot.Int16x2, IntegerDot.Int8x4, IntegerDot.Int8x2x2]) {
            Object.assign(device, { tileDot: tile, rowDot: row })
            const { data } = await model.forward(ids)
            expected ??= data
            expect(data).toEqual(expected)
            if (!config.causal) continue
            const session = model.createSession()
            for (const length of [1, 7, 2, 13]) await session.append(ids.slice(session.position, session.position + length))
            const logits = await session.append([ids[session.position]!])
            expect(logits).toEqual(expected.slice(23 * config.num_tokens, 24 * config.num_tokens))
            session.dispose()
          }
        }
        model.dispose()
      }
    })
  })

  test.each(['F32', 'F16', 'BF16', 'F64'] as const)('is made from a float model while it is loaded: %s', async (dtype) => {
    const float = dtype === 'F32' || dtype === 'F64' ? withDtype(files, dtype) : narrowModelFiles(causalConfig, dtype, 'narrow')
    using runtime = openRuntime('baseline')
    const { used } = runtime.info.memory
    const model = await LanguageModel.load(float, { runtime, quantize: 'int8' })
    const afterwards = runtime.info.memory.used
    const quantized = await LanguageModel.load(await quantizeModel(float), { runtime, quantize: 'int8' })
    expect(afterwards - used).toBe(runtime.info.memory.used - afterwards)
    expect(model.config).toEqual(quantized.config)
    expect((await model.forward(ids)).data).toEqual((await quantized.forward(ids)).data)
    const plain = await LanguageModel.load(float, { runtime })
    expect((await plain.forward(ids)).data).not.toEqual((await model.forward(ids)).data)
    const session = plain.createSession()
    await session.append(ids)
    expectThrows(() => model.restoreSession(session.save()), 'BAD_FILE')
  })

  test('is not made from weights that are not finite, nor by another name', async () => {
    const broken = withTensors(files, (entries) => new Float32Array(entries['to_logits.1.weight']!.bytes.buffer).fill(NaN, 3, 4))
    using runtime = openRuntime('baseline')
    const { used } = runtime.info.memory
    await expectRejects(LanguageModel.load(broken, { runtime, quantize: 'int8' }), 'BAD_WEIGHTS', /to_logits.1.weight is not finite/)
    await expectRejects(LanguageModel.load(files, { runtime, quantize: 'int4' as 'int8' }), 'BAD_ARGUMENT', /must be 'int8', got "int4"/)
    expect(runtime.info.memory.used).toBe(used)
  })

  test('has its own sessions: neither the float model accepts them, nor one of other bits', async () => {
    const quantized = await quantizeModel(files)
    using runtime = openRuntime('baseline')
    const model = await LanguageModel.load(quantized, { runtime })
    expect(model.config.quantization).toEqual({ activationBits: 7 })
    for (const other of [widen(quantized).files, await quantizeModel(files, { activationBits: 14 })]) {
      const loaded = await LanguageModel.load(other, { runtime })
      expect(loaded.numParameters).toBe(model.numParameters)
      const session = loaded.createSession()
      await session.append(ids)
      expectThrows(() => model.restoreSession(session.save()), 'BAD_FILE')
    }
  })

  test('holds linear maps and the embedding as int8, and all else as it was', async () => {
    const quantized = await quantizeModel(files)
    const before = tensorsOf(files)
    const after = tensorsOf(quantized)
    for (const [name, { shape, bytes, dtype }] of before) {
      const now = after.get(name)!
      expect(now.shape, name).toEqual(shape)
      const isInt8 = /(^token_emb|to_qkv|to_out|to_q|to_kv|\.1\.[13]|to_logits\.1)\.weight$/.test(name)
      expect(now.dtype, name).toBe(isInt8 ? 'I8' : dtype)
      if (!isInt8) expect(now.bytes, name).toEqual(bytes)
      expect(after.get(`${name}_scale`)?.shape, name).toEqual(isInt8 ? [shape[0], ...shape.slice(1).map(() => 1)] : undefined)
    }
    expect(jsonOf(quantized.get('config.json')!)['quantization_config']).toEqual(writeQuantizationConfig({ activationBits: 7 }))
    expect(await quantizeModel(files)).toEqual(quantized)
  })

  test.skipIf(python === undefined)('is restored by the lines of NumPy in docs/quantization.md', async () => {
    const [, script] = /```python\n([\s\S]*?)```/.exec(readFileSync(new URL('../../docs/quantization.md', import.meta.url), 'utf8'))!
    const folder = mkdtempSync(join(tmpdir(), 'routed-attention-numpy-'))
    try {
      const quantized = await quantizeModel(files)
      writeFileSync(join(folder, 'model.safetensors'), quantized.get('model.safetensors')!)
      const print = '\nprint(json.dumps({name: value.astype("f4").ravel().tolist() for name, value in floats.items()}))\n'
      const output = execFileSync(python!, ['-c', script! + print], { cwd: folder, encoding: 'utf8', maxBuffer: 1 << 26 })
      const floats = JSON.parse(output) as Record<string, number[]>
      const before = tensorsOf(files)
      expect(Object.keys(floats).sort()).toEqual([...before.keys()].sort())
      for (const [name, stored] of before) {
        const expected = toFloat32(stored, name)
        const largest = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 0)
        floats[name]!.forEach((x, i) => expect(Math.abs(x - expected[i]!), name).toBeLessThanOrEqual(largest / 127))
      }
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})

describe('mismatched parts are rejected', () => {
  test('a model that is quantized already, other bits, weights that are not finite', async () => {
    const quantized = await quantizeModel(files)
    await expectRejects(quantizeModel(quantized), 'UNSUPPORTED', /already/)
    await expectRejects(quantizeModel(files, { activationBits: 8 as 7 }), 'BAD_ARGUMENT', /7 or 14/)
    const infinite = withTensors(files, (entries) => {
      const { bytes } = entries['to_logits.1.weight']!
      new DataView(bytes.buffer, bytes.byteOffset).setFloat32(0, Infinity, true)
    })
    await expectRejects(quantizeModel(infinite), 'BAD_WEIGHTS', /to_logits\.1\.weight/)
  })

  test('int8 without a quantization_config, and scales that are missing, superfluous or invalid', async () => {
    using runtime = openRuntime('baseline')
    const before = runtime.info.memory.used
    const quantized = await quantizeModel(files)
    const load = (model: ReadonlyMap<string, Uint8Array>) => LanguageModel.load(model, { runtime })
    const without = jsonOf(quantized.get('config.json')!)
    delete without['quantization_config']
    await expectRejects(load(new Map([...quantized, ['config.json', bytesOf(without)]])), 'BAD_WEIGHTS', /I8/)
    const scale = 'to_logits.1.weight_scale'
    await expectRejects(
      load(withTensors(quantized, (entries) => delete entries[scale])),
      'BAD_WEIGHTS',
      /missing: to_logits\.1\.weight_scale \[23, 1\]/,
    )
    const extra = withTensors(quantized, (entries) => (entries['to_logits.1.bias_scale'] = { ...entries[scale]! }))
    await expectRejects(load(extra), 'BAD_WEIGHTS', /unexpected: to_logits\.1\.bias_scale/)
    const wide = withTensors(quantized, (entries) => (entries[scale]!.shape = [23]))
    await expectRejects(load(wide), 'BAD_WEIGHTS', /shape \[23\]/)
    const halves = withTensors(quantized, (entries) => (entries[scale] = { dtype: 'F16', shape: [23, 1], bytes: new Uint8Array(46) }))
    await expectRejects(load(halves), 'BAD_WEIGHTS', /F16, not F32/)
    const floats = withTensors(
      quantized,
      (entries) => (entries['to_logits.1.weight'] = { dtype: 'F32', shape: [23, 16], bytes: new Uint8Array(23 * 16 * 4) }),
    )
    await expectRejects(load(floats), 'BAD_WEIGHTS', /F32, not I8/)
    for (const wrong of [0, -1, NaN, Infinity]) {
      const broken = withTensors(quantized, (entries) => {
        const bytes = entries[scale]!.bytes.slice()
        new DataView(bytes.buffer).setFloat32(8, wrong, true)
        entries[scale]!.bytes = bytes
      })
      await expectRejects(load(broken), 'BAD_WEIGHTS', new RegExp(`${scale.replaceAll('.', '\\.')} .*row 2 is ${wrong}`))
    }
    expect(runtime.info.memory.used).toBe(before)
  })

  const valid = writeQuantizationConfig({ activationBits: 14 }) as {
    config_groups: { group_0: Record<string, unknown>; group_1: Record<string, unknown> }
  }
  const { group_0: linear, group_1: embedding } = valid.config_groups
  test.each<[string, unknown]>([
    ['another method', { ...valid, quant_method: 'gptq' }],
    ['another format', { ...valid, format: 'pack-quantized' }],
    ['layers that are ignored', { ...valid, ignore: ['to_logits'] }],
    ['a list', [valid]],
    ['nothing about groups', { ...valid, config_groups: undefined }],
    ['one group alone', { ...valid, config_groups: { group_0: linear } }],
    ['other targets', { ...valid, config_groups: { group_0: linear, group_1: { ...embedding, targets: ['Embedding'] } } }],
    [
      '4 bits',
      {
        ...valid,
        config_groups: { group_0: { ...linear, weights: { ...(linear['weights'] as object), num_bits: 4 } }, group_1: embedding },
      },
    ],
    [
      'asymmetric weights',
      {
        ...valid,
        config_groups: { group_0: { ...linear, weights: { ...(linear['weights'] as object), symmetric: false } }, group_1: embedding },
      },
    ],
    [
      '8-bit activations',
      {
        ...valid,
        config_groups: {
          group_0: { ...linear, input_activations: { ...(linear['input_activations'] as object), num_bits: 8 } },
          group_1: embedding,
        },
      },
    ],
    ['float activations', { ...valid, config_groups: { group_0: { ...linear, input_activations: null }, group_1: embedding } }],
    ['a cache of keys and values', { ...valid, kv_cache_scheme: { num_bits: 8 } }],
  ])('%s', (_, quantization_config) => {
    expectThrows(() => parseModelConfig({ ...causalConfig, quantization_config }), 'UNSUPPORTED', /quantization_config|input_activations/)
  })

  test('keys that are null are ignored', () => {
    const config = parseModelConfig({ ...causalConfig, quantization_config: { ...valid, kv_cache_scheme: null, sparsity_config: null } })
    expect(config.quantization).toEqual({ activationBits: 14 })
    expect(parseModelConfig({ ...causalConfig, quantization_config: null })).not.toHaveProperty('quantization')
  })
})
