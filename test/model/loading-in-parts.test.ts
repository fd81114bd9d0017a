/** What a load does with a large model's weights it does piece by piece, between which the event loop may turn. */
import { expect, test, vi } from 'vitest'
import { runToEnd, runInSlices } from '../../src/event-loop.js'
import { type Device, WeightFormat } from '../../src/device/device.js'
import type { FileLike } from '../../src/io/read-options.js'
import { Checksum } from '../../src/model/parameters/checksum.js'
import { parseModelConfig } from '../../src/model/config/config.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { WholeRows } from '../../src/model/parameters/whole-rows.js'
import { planModelWeights } from '../../src/plan/memory/model-weights.js'
import { modelParameters } from '../../src/plan/parameters.js'
import { expectSameBits } from '../kernels/float32.js'
import { outcomeOf } from '../support/interruptions.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, randomTokens, smallModel, smallModelFiles } from '../support/small-models.js'

const MEBIBYTE = 2 ** 20

test('a file is read one mebibyte at a time, each piece once', async () => {
  using runtime = openRuntime('relaxed')
  const asked: [string, number, number][] = []
  const files = [...smallModelFiles(smallModel({ ...causalConfig, num_tokens: 8000, dim: 256 }))].map(([name, bytes]): FileLike => ({
    name,
    size: bytes.length,
    arrayBuffer: () => Promise.reject(new Error('it is read in slices')),
    slice: (start, end) => {
      asked.push([name, start, end])
      return new Blob([bytes.slice(start, end)])
    },
  }))
  using model = await LanguageModel.load(files, { runtime })
  expect(model.numParameters).toBeGreaterThan(4 * MEBIBYTE)
  const pieces = asked.filter(([name]) => name === 'model.safetensors')
  expect(pieces.length).toBeGreaterThan(16)
  expect(pieces.every(([, start, end]) => end - start <= MEBIBYTE)).toBe(true)
  // up to the last read, which finds the end
  expect(pieces.every(([, start], i) => start === (pieces[i - 1]?.[2] ?? 0))).toBe(true)
})

test('a checksum is that of the whole file, for any pieces and either implementation', () => {
  using runtime = openRuntime('relaxed')
  const bytes = Uint8Array.from({ length: 3 * MEBIBYTE + 5 }, (_, i) => i * 7 + (i >> 9))
  const whole = new Checksum().update(bytes).digest()
  for (const scanner of [undefined, runtime.device.scanner]) {
    for (const piece of [1 << 20, 70_001, 4099]) {
      const checksum = new Checksum(scanner)
      for (let from = 0; from < bytes.length; from += piece) checksum.update(bytes.subarray(from, from + piece))
      expect(checksum.digest()).toEqual(whole)
    }
  }
  const short = bytes.subarray(0, 100)
  const checksum = new Checksum()
  for (let from = 0, step = 0; from < short.length; from += step++) checksum.update(short.subarray(from, from + step))
  expect(checksum.digest()).toEqual(new Checksum().update(short).digest())
  expect(new Checksum().update(bytes.subarray(0, 99)).digest()).not.toEqual(checksum.digest())
})

test('rows are assembled from any pieces', () => {
  const bytes = Uint8Array.from({ length: 12 * 7 }, (_, i) => i)
  for (const piece of [1, 2, 5, 7, 8, 13, 21, 84]) {
    const taken: number[] = []
    const rows = new WholeRows(7, (first, whole) => {
      expect(taken.length).toBe(first * 7)
      expect(whole.length % 7).toBe(0)
      taken.push(...whole)
    })
    for (let from = 0; from < bytes.length; from += piece) rows.write(bytes.subarray(from, from + piece))
    expect(taken).toEqual([...bytes])
  }
})

/** A model's parameters in float32, of values that tell them apart. */
function parametersOf(json: Record<string, unknown>) {
  const config = parseModelConfig(json)
  const parameters = modelParameters(config).map(({ name, shape, inputs }, i) => {
    const data = Float32Array.from({ length: shape.reduce((size, length) => size * length, 1) }, (_, j) => Math.sin(i + j))
    return { name, columns: inputs.segments * inputs.size, data }
  })
  return { parameters, layout: planModelWeights(config, () => WeightFormat.Float32).layout }
}

const float32 = (data: Float32Array) => ({
  format: WeightFormat.Float32,
  bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
})

test('packing rows as they arrive, in any order of parameters and some twice, equals packing all at once', () => {
  using runtime = openRuntime('relaxed')
  const { device } = runtime
  const { parameters, layout } = parametersOf({ ...causalConfig, num_tokens: 77 })
  const whole = device.packWeights(layout, (name) => float32(parameters.find((parameter) => parameter.name === name)!.data))
  for (const step of [1, 3, 32]) {
    const packer = device.openPacker(layout)
    for (const { name, columns, data } of [...parameters].reverse()) {
      const rows = data.length / columns
      packer.put(name, 0, float32(new Float32Array(columns * Math.min(rows, 5)).fill(NaN))) // a transfer that begins again
      for (let row = 0; row < rows; row += step)
        packer.put(name, row, float32(data.subarray(row * columns, Math.min(rows, row + step) * columns)))
    }
    const packed = packer.finish()
    packer.dispose()
    expectSameBits(packed.readFloats(0, layout.byteLength / 4), whole.readFloats(0, layout.byteLength / 4))
    packed.dispose()
  }
})

test('abandoned packing releases everything', () => {
  using runtime = openRuntime('relaxed')
  const { parameters, layout } = parametersOf(causalConfig)
  const { used } = runtime.info.memory
  const packer = runtime.device.openPacker(layout)
  expect(runtime.info.memory.used).toBeGreaterThan(used + layout.byteLength)
  packer.put(parameters[0]!.name, 0, float32(parameters[0]!.data))
  for (let i = 0; i < 2; i++) packer.dispose()
  expect(runtime.info.memory.used).toBe(used)
})

test('incremental work fails with what its check throws, and releases what it holds', async () => {
  let held = true
  function* work(): Generator<void, string> {
    try {
      for (;;) {
        for (const end = performance.now() + 5; performance.now() < end;);
        yield
      }
    } finally {
      held = false
    }
  }
  const check = vi.fn(() => {
    throw new Error('enough')
  })
  await expect(runInSlices(work(), check)).rejects.toThrow('enough')
  expect(check).toHaveBeenCalledTimes(1)
  expect(held).toBe(false)
  function* short(): Generator<void, number> {
    yield
    return 7
  }
  expect(runToEnd(short())).toBe(7)
  expect(await runInSlices(short(), () => undefined)).toBe(7)
})

/** Calls `act` while a load has packed some of its weights. */
function actWhilePacking(device: Device, act: () => void): void {
  const open = device.openPacker.bind(device)
  vi.spyOn(device, 'openPacker').mockImplementation((layout) => {
    const packer = open(layout)
    const put = packer.put.bind(packer)
    let puts = 0
    packer.put = (...rows) => {
      if (++puts === 3) queueMicrotask(act)
      put(...rows)
    }
    return packer
  })
}

test('a load that is aborted, or whose bytes are transferred or runtime disposed of, while its weights are packed rejects and leaks nothing', async () => {
  const made = smallModelFiles(smallModel({ ...causalConfig, num_tokens: 8000, dim: 256 }))
  const acts = ['abort', 'transfer', 'dispose'] as const
  for (const act of acts) {
    const runtime = openRuntime('relaxed')
    const { used } = runtime.info.memory
    const { device } = runtime
    const files = new Map([...made].map(([name, bytes]) => [name, bytes.slice()]))
    const controller = new AbortController()
    actWhilePacking(device, () => {
      if (act === 'abort') controller.abort('enough')
      else if (act === 'dispose') void runtime.dispose()
      else structuredClone(null, { transfer: [files.get('model.safetensors')!.buffer] })
    })
    const outcome = await outcomeOf(LanguageModel.load(files, { runtime, signal: controller.signal }))
    const reasons = { abort: 'enough', transfer: { code: 'BAD_FILE' }, dispose: { code: 'DISPOSED' } }
    expect(outcome, act).toMatchObject({ reason: reasons[act] })
    if (act !== 'dispose') expect(runtime.info.memory.used).toBe(used)
    await runtime.dispose()
    expect(runtime.info.memory.used).toBe(0)
  }
})

test('a model that is loaded in parts gives the same bits', async () => {
  using runtime = openRuntime('relaxed')
  const files = smallModelFiles(smallModel(causalConfig))
  const [a, b] = [await LanguageModel.load(files, { runtime }), await LanguageModel.load(files, { runtime })]
  const tokens = randomTokens(30, causalConfig.num_tokens)
  expect((await a.forward(tokens)).data).toEqual((await b.forward(tokens)).data)
  expect(b.restoreSession(a.createSession().save()).position).toBe(0)
})
