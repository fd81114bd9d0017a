import { describe, expect, test } from 'vitest'
import { DispatchHeader } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import { createRandom } from '../../src/random.js'
import { allBuilds } from '../support/runtimes.js'
import { headRows, keyIndex, packHeads, unpackHeads, valueIndex } from './attention-twin.js'
import { expectSameBits, integers, range } from './float32.js'
import { placeInputs } from './context-inputs.js'
import { gatherCases, gatherContextOp, gathered } from './gather-context-op.js'
import { contextUpdates, headShapes, type HeadShape, slotLengths } from './op-cases.js'
import { runtimeOf, partitionCounts, OpMemory } from './op-runner.js'

const everyPartition = [1, ...partitionCounts]

/** Rows of keys and of values. */
interface Pairs {
  readonly keys: readonly Float32Array[]
  readonly values: readonly Float32Array[]
}

function somePairs(count: number, { heads, width, headStride }: HeadShape, seed: number): Pairs {
  const { normal } = createRandom(seed)
  return { keys: headRows(count, heads, width, headStride, normal), values: headRows(count, heads, width, headStride, normal) }
}

/** Rows of [k | v]. */
function interleave({ keys, values }: Pairs): Float32Array {
  return Float32Array.from(keys.flatMap((key, i) => [...key, ...values[i]!]))
}

/** A context's packed keys and values, its free places NaN. */
function placeContext(memory: OpMemory, { keys, values }: Pairs, { heads, headStride }: HeadShape, capacity: number) {
  const packed = {
    keys: memory.inputOutput(packHeads(keyIndex, keys, heads, headStride, capacity)),
    values: memory.inputOutput(packHeads(valueIndex, values, heads, headStride, capacity)),
  }
  const expectRanks = (expected: Pairs, about: string) => {
    // places after the expected ranks keep what they held
    const held = { keys: memory.floats(packed.keys), values: memory.floats(packed.values) }
    const end = expected.keys.length
    unpackHeads(keyIndex, held.keys, heads, headStride, capacity, 0, end).forEach((row, i) =>
      expectSameBits(row, expected.keys[i]!, `key ${i} ${about}`),
    )
    unpackHeads(valueIndex, held.values, heads, headStride, capacity, 0, end).forEach((row, i) =>
      expectSameBits(row, expected.values[i]!, `value ${i} ${about}`),
    )
    const free = Array<Float32Array>(Math.max(0, capacity - Math.max(end, keys.length))).fill(
      new Float32Array(heads * headStride).fill(NaN),
    )
    for (const [index, floats] of [
      [keyIndex, held.keys],
      [valueIndex, held.values],
    ] as const) {
      unpackHeads(index, floats, heads, headStride, capacity, capacity - free.length, capacity).forEach((row, i) =>
        expectSameBits(row, free[i]!, `a free place ${about}`),
      )
    }
  }
  return { packed, expectRanks }
}

const noPairs: Pairs = { keys: [], values: [] }

describe.each(allBuilds)('contexts on the %s build', (build) => {
  test('begin with the null key/value at rank 0', () => {
    for (const shape of headShapes) {
      for (const partitions of everyPartition) {
        const memory = new OpMemory(4)
        const pair = somePairs(1, shape, 1)
        const { packed, expectRanks } = placeContext(memory, noPairs, shape, 16)
        memory.run(runtimeOf(build, partitions), Opcode.NullContext, {
          null: memory.input(interleave(pair)),
          keys: packed.keys,
          values: packed.values,
          heads: shape.heads,
          headStride: shape.headStride,
          capacity: 16,
        })
        expectRanks(pair, 'after opening')
      }
    }
  })

  test('close the gaps of evicted tokens and append admitted ones, with the null key/value first', () => {
    for (const shape of headShapes) {
      for (const [before, retained, admitted] of contextUpdates) {
        for (const partitions of everyPartition) {
          const memory = new OpMemory(4 * (partitions % 4))
          const old = somePairs(before + 1, shape, 2)
          const added = somePairs(admitted, shape, 3)
          const { packed, expectRanks } = placeContext(memory, old, shape, 136)
          memory.run(runtimeOf(build, partitions), Opcode.UpdateContext, {
            retained: memory.input(Int32Array.from(retained)),
            retainedCount: memory.count(retained.length),
            admittedCount: memory.count(admitted),
            projected: memory.input(interleave(added)),
            keys: packed.keys,
            values: packed.values,
            heads: shape.heads,
            headStride: shape.headStride,
            capacity: 136,
          })
          const ranks = (rows: readonly Float32Array[], fresh: readonly Float32Array[]) => [
            rows[0]!,
            ...retained.map((rank) => rows[rank + 1]!),
            ...fresh,
          ]
          expectRanks(
            { keys: ranks(old.keys, added.keys), values: ranks(old.values, added.values) },
            `keeping ${retained.length} of ${before}`,
          )
        }
      }
    }
  })

  test('append to existing tokens if no list says which are retained', () => {
    for (const shape of headShapes) {
      for (const partitions of everyPartition) {
        const memory = new OpMemory(4 * (partitions % 4))
        const old = somePairs(10, shape, 2)
        const added = somePairs(7, shape, 3)
        const { packed, expectRanks } = placeContext(memory, old, shape, 24)
        memory.run(runtimeOf(build, partitions), Opcode.UpdateContext, {
          retainedCount: memory.count(5),
          admittedCount: memory.count(7),
          projected: memory.input(interleave(added)),
          keys: packed.keys,
          values: packed.values,
          heads: shape.heads,
          headStride: shape.headStride,
          capacity: 24,
        })
        expectRanks(
          { keys: [...old.keys.slice(0, 6), ...added.keys], values: [...old.values.slice(0, 6), ...added.values] },
          'keeping the first 5',
        )
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
