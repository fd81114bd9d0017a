import { describe, expect, test } from 'vitest'
import { DispatchHeader } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import { allBuilds } from '../support/runtimes.js'
import { expectSameBits, integers, range } from './float32.js'
import { placeInputs } from './context-inputs.js'
import { gatherCases, gatherContextOp, gathered } from './gather-context-op.js'
import { contextUpdates, headShapes, slotLengths } from './op-cases.js'
import { runtimeOf, partitionCounts, OpMemory } from './op-runner.js'
import { nullContextOp, opened, updateCases, updateContextOp, updated } from './update-context-op.js'

const everyPartition = [1, ...partitionCounts]

describe.each(allBuilds)('contexts on the %s build', (build) => {
  test('begin with the null key/value at rank 0', () => {
    for (const shape of headShapes) {
      const expected = opened(shape)
      for (const partitions of everyPartition) {
        const { memory, opcode, fields, keys, values } = nullContextOp(shape, 4)
        memory.run(runtimeOf(build, partitions), opcode, fields)
        expectSameBits(memory.floats(keys), expected.keys, 'keys after opening')
        expectSameBits(memory.floats(values), expected.values, 'values after opening')
      }
    }
  })

  test('close the gaps of evicted tokens and append admitted ones, with the null key/value first', () => {
    for (const options of updateCases) {
      const expected = updated(options)
      for (const partitions of everyPartition) {
        const { memory, opcode, fields, chunk, keys, values } = updateContextOp(options, 4 * (partitions % 4))
        memory.run(runtimeOf(build, partitions), opcode, fields, chunk)
        expectSameBits(memory.floats(keys), expected.keys, `keys, ${JSON.stringify(options)}`)
        expectSameBits(memory.floats(values), expected.values, `values, ${JSON.stringify(options)}`)
      }
    }
  })

  test('keep the inputs of their keys and values, rank by rank', () => {
    for (const stride of [8, 24, 64]) {
      for (const [before, retained, admitted] of contextUpdates) {
        for (const partitions of everyPartition) {
          const memory = new OpMemory(4 * (partitions % 4))
          const { fields, inputs, expected } = placeInputs(memory, before, retained, admitted, stride)
          memory.run(runtimeOf(build, partitions), Opcode.UpdateContextInputs, fields)
          expectSameBits(memory.floats(inputs).subarray(0, expected.length), expected, `keeping ${retained.length} of ${before}`)
        }
      }
    }
  })

  test('gather, when a window begins, the selected keys and values after the null ones, values times their scores', () => {
    for (const options of gatherCases) {
      const expected = gathered(options)
      for (const partitions of everyPartition) {
        const { memory, opcode, fields, chunk, keys, values } = gatherContextOp({ ...options, misalignment: 4 * (partitions % 4) })
        memory.run(runtimeOf(build, partitions), opcode, fields, chunk)
        expectSameBits(memory.floats(keys), expected.keys, `keys, ${JSON.stringify(options)}`)
        expectSameBits(memory.floats(values), expected.values, `values, ${JSON.stringify(options)}`)
      }
    }
  })
})

describe.each(allBuilds)('slots on the %s build', (build) => {
  test('number the selected tokens, expert by expert, in ascending position', () => {
    const [experts, capacity] = [3, 8600]
    for (const length of slotLengths) {
      for (const partitions of everyPartition) {
        const marks = integers(experts * capacity, 2, length)
        const taken = range(experts).map((r) => range(length).filter((position) => marks[r * capacity + position]))
        const total = taken.flat().length
        const memory = new OpMemory(4 * (partitions % 4))
        const slots = memory.inputOutput(marks, [{ rows: experts, width: length, stride: capacity }])
        const positions = memory.output(total)
        const counts = memory.output(experts)
        const fields = {
          slots,
          positions,
          counts,
          experts,
          capacity,
        }
        memory.run(runtimeOf(build, partitions), Opcode.AssignSlots, fields, { [DispatchHeader.SequenceRows]: length })
        expect([...memory.ints(positions)]).toEqual(taken.flat())
        expect([...memory.ints(counts)]).toEqual(taken.map((list) => list.length))
        let slot = 0
        const expected = marks.slice()
        for (const r of range(experts))
          for (const position of range(length)) expected[r * capacity + position] = marks[r * capacity + position] ? slot++ : -1
        expect(memory.ints(slots)).toEqual(expected)
      }
    }
  })
})
