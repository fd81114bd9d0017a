import { beforeAll, describe, expect, test, vi } from 'vitest'
import { DispatchHeader } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import { MAX_TILE_ROWS } from '../../assembly/ir/sizes.js'
import type { Kernel, OpView } from '../../src/device/webgpu/kernel.js'
import type { WebGpuDevice } from '../../src/device/webgpu/webgpu-device.js'
import { createRandom } from '../../src/random.js'
import { headRows, keyIndex, packHeads, valueIndex } from '../kernels/attention-twin.js'
import { expectSameBits, roundUpTo8 } from '../kernels/float32.js'
import { contextLengths, headWidths, localWindows } from '../kernels/op-cases.js'
import { OpMemory } from '../kernels/op-runner.js'
import { windowedAttentionOp, windowedRows } from '../kernels/windowed-attention-op.js'
import { noAdapter, openDevice } from './gpu.js'
import { expectSameOp, type OpCase } from './op-comparison.js'

/** Which of the kernels that fit an op runs it (0: the chosen one), and how many fitted the last op. */
const forms = vi.hoisted(() => ({ forced: 0, fitting: 0 }))
vi.mock(import('../../src/device/webgpu/kernels/attention/attention.js'), async (original) => {
  const actual = await original()
  const chooseAttention = (op: OpView): Kernel<Opcode.Attention> => {
    const fitting = actual.fittingForms(op)
    forms.fitting = fitting.length
    return forms.forced === 0 ? actual.chooseAttention(op) : fitting[forms.forced]!
  }
  return { ...actual, chooseAttention }
})

/** Floats between rows beyond what they need. */
const GAP = 8

interface Shape {
  readonly heads: number
  readonly width: number
}

/** Rows that attend to some keys; `last` is the first row's own key, or with `advance` 0 every row's last one. */
interface Attending extends Shape {
  readonly queries: readonly Float32Array[]
  readonly keys: readonly Float32Array[]
  readonly values: readonly Float32Array[]
  readonly last: number
  readonly window: number
  readonly advance: 0 | 1
  readonly capacity?: number
  /** Rows at the front of the queries whose outputs are not requested. */
  readonly skipped?: number
}

function rowsOf(count: number, { heads, width }: Shape, seed: number): Float32Array[] {
  return headRows(count, heads, width, roundUpTo8(width), createRandom(seed).normal)
}

function attendingOf(shape: Shape, rows: number, last: number, window: number, advance: 0 | 1): Attending {
  const keys = last + 1 + (rows - 1) * advance
  const seed = rows + 100 * last
  return {
    ...shape,
    queries: rowsOf(rows, shape, seed),
    keys: rowsOf(keys, shape, seed + 1),
    values: rowsOf(keys, shape, seed + 2),
    last,
    window,
    advance,
  }
}

function attentionCase(attending: Attending): OpCase<Opcode.Attention> {
  const { heads, width, queries, keys, values, last, window, advance, skipped } = attending
  const asked = queries.length - (skipped ?? 0)
  const headStride = roundUpTo8(width)
  const inner = heads * headStride
  const capacity = attending.capacity ?? roundUpTo8(keys.length)
  const scoreStride = roundUpTo8(Math.min(window, capacity) + MAX_TILE_ROWS + 14)
  const memory = new OpMemory()
  const stride = inner + GAP
  const strided = new Float32Array(queries.length * stride).fill(NaN)
  queries.forEach((row, i) => strided.set(row, i * stride))
  const output = memory.output(asked * stride, [{ rows: asked, width: inner, stride }])
  const fields = {
    rows: memory.count(asked),
    first: skipped === undefined ? undefined : memory.count(skipped),
    end: memory.count(last),
    queries: memory.input(strided),
    keys: memory.input(packHeads(keyIndex, keys, heads, headStride, capacity)),
    values: memory.input(packHeads(valueIndex, values, heads, headStride, capacity)),
    output,
    scores: memory.output(scoreStride * MAX_TILE_ROWS + 8),
    queryStride: stride,
    outputStride: stride,
    heads,
    headWidth: width,
    headStride,
    capacity,
    window,
    advance,
    scoreStride,
    scale: 1 / Math.sqrt(width),
  }
  return {
    memory,
    opcode: Opcode.Attention,
    fields,
    chunk: { [DispatchHeader.Rows]: queries.length },
    floats: [output],
  }
}

describe.skipIf(noAdapter)('attention on a GPU, as on the processor', () => {
  let device: WebGpuDevice
  beforeAll(async () => void (device = await openDevice()))

  /** What the GPU gives, row by row. */
  async function attend(attending: Attending, form = 0): Promise<Float32Array[]> {
    const { memory, opcode, fields, chunk, floats } = attentionCase(attending)
    forms.forced = form
    try {
      await memory.runOn(device, opcode, fields, chunk)
    } finally {
      forms.forced = 0
    }
    const inner = attending.heads * roundUpTo8(attending.width)
    const output = memory.floats(floats![0]!)
    return attending.queries.map((_, i) => output.slice(i * (inner + GAP), i * (inner + GAP) + inner))
  }

  test.each(localWindows)('attends from every row to the %d keys before it and its own', async (before) => {
    const shapes = before < 100 ? [...headWidths, 128] : before < 200 ? [10, 64, 128] : [10]
    for (const width of shapes) {
      for (const [rows, last] of [
        [1, 0],
        [1, before + 13],
        [37, 3],
        [37, before + 5],
      ] as const) {
        const make = () => attentionCase(attendingOf({ heads: width < 20 ? 3 : 1, width }, rows, last, before + 1, 1))
        await expectSameOp(device, make, `width ${width}, ${rows} rows from key ${last}`)
      }
    }
  })

  test('attends from the requested rows only', async () => {
    for (const skipped of [0, 1, 36]) {
      const make = () => attentionCase({ ...attendingOf({ heads: 2, width: 10 }, 37, 20, 32, 1), skipped })
      await expectSameOp(device, make, `without ${skipped} of 37 rows`)
    }
  })

  test('attends from every row to the null key and the whole context', async () => {
    for (const [i, context] of contextLengths.entries()) {
      const width = headWidths[i % headWidths.length]!
      for (const rows of [1, 17]) {
        const attending = attendingOf({ heads: 2, width }, rows, context, roundUpTo8(context + 1), 0)
        await expectSameOp(device, () => attentionCase(attending), `context ${context}, width ${width}, ${rows} rows`)
      }
    }
  })

  test('attends window by window, each to a context of its own', async () => {
    for (const counts of windowedRows) await expectSameOp(device, () => windowedAttentionOp(counts), `windows of ${counts.join(', ')} rows`)
  })

  test('gives a row the same bits in every kernel variant that has room for its keys', async () => {
    for (const [width, window, last] of [
      [10, 8, 60],
      [64, 34, 3],
      [16, 129, 140],
      [136, 20, 30],
    ] as const) {
      const attending = attendingOf({ heads: 2, width }, 19, last, window, 1)
      const rows = await attend(attending)
      expect(forms.fitting).toBeGreaterThan(1)
      for (let form = forms.fitting - 1; form > 0; form--) {
        expectSameRows(await attend(attending, form), rows, `in form ${form}, width ${width}`)
      }
    }
  })

  test('gives a row the same bits alone and among others, at any buffer offset', async () => {
    for (const [window, last] of [
      [8, 60],
      [30, 90],
      [250, 260],
    ] as const) {
      const attending = attendingOf({ heads: 2, width: 10 }, 35, last, window, 1)
      const rows = await attend(attending)
      const dropped = Math.floor((last + 1 - window) / 8) * 8
      const [keys, values] = [attending.keys.slice(dropped), attending.values.slice(dropped)]
      expectSameRows(await attend({ ...attending, keys, values, last: last - dropped }), rows, `${dropped} keys dropped`)
      for (const i of [0, 1, 15, 16, 22, 34]) {
        const alone = { ...attending, queries: attending.queries.slice(i, i + 1), last: last + i }
        expectSameRows(await attend(alone), rows.slice(i, i + 1), `alone, of ${i}`)
      }
      const rest = { ...attending, queries: attending.queries.slice(5), last: last + 5 }
      expectSameRows(await attend(rest), rows.slice(5), 'without the first five')
    }
  })
})

function expectSameRows(actual: readonly Float32Array[], expected: readonly Float32Array[], about: string): void {
  expect(actual.length, about).toBe(expected.length)
  actual.forEach((row, i) => expectSameBits(row, expected[i]!, `row ${i} ${about}`))
}
