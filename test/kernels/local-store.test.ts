import { describe, expect, test } from 'vitest'
import { allBuilds } from '../support/runtimes.js'
import { expectSameBits } from './float32.js'
import { localStoreOp, localStorePlaces, localStoreShapes, stored } from './local-store-op.js'
import { partitionCounts, runtimeOf } from './op-runner.js'

describe.each(allBuilds)('local keys and values on the %s build', (build) => {
  test.each(localStoreShapes)('$heads heads of $width: are rotated, stored and dropped from the front', (shape) => {
    for (const place of localStorePlaces) {
      const options = { ...shape, ...place }
      const expected = stored(options)
      for (const partitions of [1, ...partitionCounts]) {
        const { memory, opcode, fields, chunk, keys, values, queries } = localStoreOp({ ...options, misalignment: 4 * (partitions % 4) })
        memory.run(runtimeOf(build, partitions), opcode, fields, chunk)
        const about = `${JSON.stringify(place)}, in ${partitions} partitions`
        for (const [actual, wanted, what] of [
          [memory.floats(keys), expected.keys, 'keys'],
          [memory.floats(values), expected.values, 'values'],
        ] as const) {
          const places = [...wanted.keys()]
          expectSameBits(
            Float32Array.from(places, (at) => actual[at]!),
            Float32Array.from(wanted.values()),
            `${what}, ${about}`,
          )
        }
        expect(queries.length).toBe(place.rows)
        queries.forEach((query, row) => expectSameBits(memory.floats(query), expected.queries[row]!, `query ${row}, ${about}`))
      }
    }
  })
})
