/** What the host assembles for a GPU, for which none is needed. */
import { expect, test } from 'vitest'
import { type ParameterValues, WeightFormat } from '../../src/device/device.js'
import { WebGpuWeightPacker } from '../../src/device/webgpu/pack.js'
import type { WebGpuBuffer } from '../../src/device/webgpu/webgpu-buffer.js'
import { parseModelConfig } from '../../src/model/config/config.js'
import { planModelWeights } from '../../src/plan/memory/model-weights.js'
import { modelParameters } from '../../src/plan/parameters.js'
import { expectSameBits } from '../kernels/float32.js'
import { causalConfig } from '../support/small-models.js'

const config = parseModelConfig({ ...causalConfig, num_tokens: 77 })
const { layout } = planModelWeights(config, () => WeightFormat.Float32)
const parameters = modelParameters(config).map(({ name, shape, inputs, isQuantizable }, i) => {
  const columns = inputs.segments * inputs.size
  const rows = shape.reduce((size, length) => size * length, 1) / columns
  const data = Float32Array.from({ length: rows * columns }, (_, j) => Math.round(100 * Math.sin(i + j)) + 0)
  const scales = Float32Array.from({ length: rows }, (_, row) => 1 + row / 64)
  return { name, rows, columns, data, isQuantizable, scales }
})

/** A packer, and what it has written. */
function newPacker() {
  const written = new Uint8Array(layout.byteLength)
  const buffer = {
    write: ({ buffer, byteOffset, byteLength }: ArrayBufferView, at: number) =>
      written.set(new Uint8Array(buffer, byteOffset, byteLength), at),
    divide: () => undefined,
    dispose: () => undefined,
  }
  return { packer: new WebGpuWeightPacker(layout, buffer as unknown as WebGpuBuffer), floats: new Float32Array(written.buffer) }
}

const float32 = ({ buffer, byteOffset, byteLength }: Float32Array): ParameterValues => ({
  format: WeightFormat.Float32,
  bytes: new Uint8Array(buffer, byteOffset, byteLength),
})

function packedAtOnce(values: (parameter: (typeof parameters)[number]) => Float32Array): Float32Array {
  const { packer, floats } = newPacker()
  for (const parameter of parameters) packer.put(parameter.name, 0, float32(values(parameter)))
  packer.finish()
  return floats
}

test('rows packed as they arrive, repeated or not, equal those packed all at once', () => {
  const whole = packedAtOnce(({ data }) => data)
  for (const step of [1, 3, 32]) {
    const { packer, floats } = newPacker()
    for (const { name, rows, columns, data } of [...parameters].reverse()) {
      packer.put(name, 0, float32(new Float32Array(columns * Math.min(rows, 5)).fill(7)))
      if (step === 3) packer.put(name, 0, float32(data.map((value) => value + 1))) // whole, and then another
      for (let row = 0; row < rows; row += step)
        packer.put(name, row, float32(data.subarray(row * columns, Math.min(rows, row + step) * columns)))
    }
    packer.finish()
    expectSameBits(floats, whole)
  }
})

test('int8 rows are widened whether their scales come before or after them', () => {
  const whole = packedAtOnce(({ data, columns, isQuantizable, scales }) =>
    isQuantizable ? data.map((value, i) => value * scales[Math.floor(i / columns)]!) : data,
  )
  for (const isBefore of [false, true]) {
    const { packer, floats } = newPacker()
    for (const { name, rows, columns, data, isQuantizable, scales } of parameters) {
      if (!isQuantizable) {
        packer.put(name, 0, float32(data))
        continue
      }
      const putScales = () => {
        for (let row = 0; row < rows; row += 5) packer.putScales(name, row, scales.subarray(row, row + 5))
      }
      if (isBefore) putScales()
      for (let row = 0; row < rows; row += 3) {
        const bytes = new Uint8Array(Int8Array.from(data.subarray(row * columns, (row + 3) * columns)).buffer)
        packer.put(name, row, { format: WeightFormat.Int8, bytes })
      }
      if (!isBefore) putScales()
    }
    packer.finish()
    expectSameBits(floats, whole)
  }
  expect(whole.some((value) => value !== 0)).toBe(true)
})
