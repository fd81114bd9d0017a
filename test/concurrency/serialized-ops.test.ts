import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Runtime } from '../../src/device/runtime.js'
import { cases, causalOptions, makeForwardOptions, makeInput, publishedOptions } from '../support/arbitraries.js'
import { expectSameBits } from '../support/bits.js'
import { withLayer } from '../support/drawn-layers.js'
import { openDriftingRuntime, seen } from '../support/drifting-pool.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfigs, loadSmallModel, randomTokens, splits } from '../support/small-models.js'
import { runs } from '../support/seed.js'

const plain = openRuntime('checked-relaxed')
const drifting = ([2, 3, 4, 5] as const).flatMap((threads) =>
  (['the first group', 'the last group'] as const).map((favourite) => openDriftingRuntime(threads, favourite).runtime),
)

test.each([
  ['published', publishedOptions],
  ['strictly causal', causalOptions],
] as const)('a layer with %s routing gives the same bits however far apart its chunks run', async (_name, options) => {
  seen.waits = seen.together = 0
  await fc.assert(
    fc.asyncProperty(cases(options), fc.integer({ min: 200, max: 2500 }), fc.constantFrom(...drifting), async (drawn, length, runtime) => {
      const long = { ...drawn, call: { ...drawn.call, length } }
      const { x } = makeInput(long)
      const forward = makeForwardOptions(long)
      const on = (where: Runtime) => withLayer(where, long.options, long.call.seed, (layer) => layer.forward(x, forward))
      expectSameBits(await on(runtime), await on(plain))
    }),
    runs(40),
  )
  expect(seen.waits).toBeGreaterThan(0)
  expect(seen.together).toBe(2)
})

test('a strictly causal model gives the same bits however far apart its chunks run', async () => {
  seen.waits = 0
  await fc.assert(
    fc.asyncProperty(
      causalConfigs,
      fc.constantFrom(...drifting),
      fc.integer({ min: 1, max: 700 }).chain(splits),
      async (drawn, runtime, lengths) => {
        const config = { ...drawn, max_positions: null }
        const on = async (where: Runtime) => {
          const model = await loadSmallModel(where, config)
          try {
            const session = model.createSession()
            const tokens = randomTokens(
              lengths.reduce((sum, length) => sum + length, 0),
              drawn.num_tokens,
            )
            const answers: Float32Array[] = [(await model.forward(tokens)).data]
            for (const length of lengths.filter((count) => count > 0)) answers.push(await session.append(tokens.splice(0, length)))
            return answers
          } finally {
            model.dispose()
          }
        }
        const [expected, answers] = [await on(plain), await on(runtime)]
        answers.forEach((answer, i) => expect(answer).toEqual(expected[i]))
      },
    ),
    runs(40),
  )
  expect(seen.waits).toBeGreaterThan(0)
})
