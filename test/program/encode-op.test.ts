import { expect, test } from 'vitest'
import { BufferIndex, DispatchHeader } from '../../assembly/ir/header.js'
import * as vocabulary from '../../assembly/ir/ops.js'
import { Attention, CopyRows, Descent, Matmul, Opcode, SelectQueries } from '../../assembly/ir/ops.js'
import { Activation, Norm, SelectionAlgorithm, WeightFormat } from '../../assembly/ir/values.js'
import type { ProgramBuilder } from '../../src/plan/ops/program-builder.js'
import { encodeOp } from '../../src/program/encode-op.js'
import { FIELD_ORDER } from '../../src/program/op-fields.js'
import { at } from '../../src/program/operand.js'

const operand = at(BufferIndex.Scratch, 64)
const product = {
  rows: at(BufferIndex.DispatchHeader, 4),
  input: at(BufferIndex.Input, 8),
  weights: at(BufferIndex.Weights, 16),
  output: operand,
  inputStride: 24,
  outputStride: 16,
  depth: 20,
  panels: 2,
  activation: Activation.Gelu,
  format: WeightFormat.Float16,
}

test('every field is written to the words that kernels read', () => {
  const fields = Object.entries(FIELD_ORDER)
  expect(fields.map(([opcode]) => Number(opcode))).toEqual(Array.from({ length: Opcode.Length - 1 }, (_, i) => i + 1))
  for (const [opcode, order] of fields) {
    const name = Opcode[Number(opcode)]!
    const words = (vocabulary as unknown as Record<string, Readonly<Record<string, number>>>)[name]!
    let next = 2
    for (const field of order.split(' ')) {
      const word = field.replace(/\W$/, '')
      const member = words[pascal(word)] ?? words['Descent']! + Descent[pascal(word) as keyof typeof Descent]
      expect(member, `${name}.${word}`).toBe(next)
      next += /[@#]$/.test(field) ? 2 : 1
    }
    expect(words['Length'], name).toBe(next)
  }
})

const pascal = (word: string) => word[0]!.toUpperCase() + word.slice(1)

test('numbers, operands, floats and doubles are in their words, and omitted operands are none', () => {
  const words = encodeOp(Opcode.Matmul, { ...product, addTo: operand })
  expect(words.slice(0, 2)).toEqual([Opcode.Matmul, Matmul.Length])
  expect(words.slice(Matmul.Input, Matmul.Input + 2)).toEqual([BufferIndex.Input, 8])
  expect(words.slice(Matmul.Bias, Matmul.AddTo + 2)).toEqual([0, 0, BufferIndex.Scratch, 64])
  expect(words.slice(Matmul.InputStride)).toEqual([24, 16, 20, 2, Activation.Gelu, WeightFormat.Float16, 0, DispatchHeader.Rows])

  const attention = encodeOp(Opcode.Attention, {
    ...{ rows: operand, queries: operand, keys: operand, values: operand, output: operand, scores: operand, end: operand },
    ...{ queryStride: 8, outputStride: 8, heads: 1, headWidth: 8, headStride: 8, capacity: 8, window: 4, advance: 1, scoreStride: 8 },
    scale: 0.1,
  })
  expect(attention[Attention.Scale]).toBe(new Int32Array(Float32Array.of(0.1).buffer)[0])

  const select = encodeOp(Opcode.SelectQueries, {
    ...{ routerScores: operand, queryMask: operand, scores: operand, work: operand },
    ...{ experts: 1, count: 1, windowSize: 8, capacity: 8, workBytes: 64 },
    ...{
      fetchRatio: 9 / 8,
      eps: 0.1,
      epsInit: 4,
      epsDecay: 0.7,
      iterations: 50,
      straightThrough: true,
      selection: SelectionAlgorithm.TopK,
    },
  })
  const eps = SelectQueries.Descent + Descent.Eps
  expect(new Float64Array(Int32Array.from(select.slice(eps, eps + 2)).buffer)[0]).toBe(0.1)
  expect(select.slice(SelectQueries.Descent + Descent.StraightThrough)).toEqual([1, SelectionAlgorithm.TopK])
})

/** Never called: each line is what the compiler must refuse. */
export function whatDoesNotCompile(builder: ProgramBuilder): void {
  const copy = { rows: operand, input: operand, output: operand, stride: 8 }
  builder.op(Opcode.CopyRows, copy)
  // @ts-expect-error a length cannot be passed, right or wrong
  builder.op(Opcode.CopyRows, CopyRows.Length, copy)
  // @ts-expect-error an operand is missing
  builder.op(Opcode.CopyRows, { rows: operand, input: operand, stride: 8 })
  // @ts-expect-error a number is missing
  builder.op(Opcode.CopyRows, { rows: operand, input: operand, output: operand })
  // @ts-expect-error an operand that may not be none
  builder.op(Opcode.CopyRows, { ...copy, output: undefined })
  // @ts-expect-error another op's key
  builder.op(Opcode.CopyRows, { rows: operand, input: operand, output: operand, stride: 8, depth: 8 })
  // @ts-expect-error another op's word by its number
  builder.op(Opcode.CopyRows, { rows: operand, input: operand, output: operand, stride: 8, [Matmul.Depth]: 8 })
  // @ts-expect-error a number where an operand belongs
  builder.op(Opcode.CopyRows, { ...copy, input: 5 })
  // @ts-expect-error an operand where a number belongs
  builder.op(Opcode.CopyRows, { ...copy, stride: operand })
  // @ts-expect-error a value of another enum
  builder.op(Opcode.Matmul, { ...product, activation: Norm.Layer })
  // @ts-expect-error another op's fields
  builder.op(Opcode.Matmul, copy)
  // @ts-expect-error what ends a program is no op
  builder.op(Opcode.End, copy)
}
