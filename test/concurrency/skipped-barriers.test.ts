import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { SKIPS_BARRIER } from '../../assembly/ir/flags.js'
import { Runtime } from '../../src/device/runtime.js'
import { type Build, openBuild } from '../../src/device/wasm/builds.js'
import { cases, makeForwardOptions, makeInput } from '../support/arbitraries.js'
import { expectSameBits } from '../support/bits.js'
import { withLayer } from '../support/drawn-layers.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfigs, loadSmallModel, publishedConfigs, randomTokens } from '../support/small-models.js'
import { runs } from '../support/seed.js'

type Order = 'first partition first' | 'last partition first'

/** How many ops were joined with the next. */
const joined = { steps: 0 }

/**
 * A runtime whose partitions run joined ops as far apart as threads ever could: one partition all of them before the
 * other its first. What joined ops share would show in the results.
 */
function openDriftingRuntime(partitions: number, order: Order): Runtime {
  const module = new WebAssembly.Module(readFileSync(new URL('../../build/checked-relaxed.wasm', import.meta.url)))
  const build = openBuild('relaxed', module)
  const run: Build['kernels']['run'] = (program, header) => {
    const words = new Int32Array(build.memory.buffer)
    let start = program / 4
    for (let at = start; words[at] !== 0;) {
      const joins = (words[at]! & SKIPS_BARRIER) > 0
      at += words[at + 1]!
      if (joins) {
        joined.steps++
        continue
      }
      const next = words[at]!
      words[at] = 0
      for (let i = 0; i < partitions; i++) {
        build.kernels.run(start * 4, header, partitions, order === 'first partition first' ? i : partitions - 1 - i, 1, 0, 1)
      }
      words[at] = next
      start = at
    }
  }
  return new Runtime({ ...build, kernels: { ...build.kernels, run } }, {}, partitions)
}

const plain = openRuntime('checked-relaxed')
const drifting = ([2, 3] as const).flatMap((partitions) =>
  (['first partition first', 'last partition first'] as const).map((order) => openDriftingRuntime(partitions, order)),
)

/** Heads that divide among two or three partitions, and some that do not. */
const heads = fc.constantFrom({ heads: 2, dimHead: 32 }, { heads: 4, dimHead: 16 }, { heads: 3, dimHead: 32 }, { heads: 2, dimHead: 6 })

test('a layer gives the same bits however far apart its partitions run', async () => {
  await fc.assert(
    fc.asyncProperty(cases(), heads, fc.constantFrom(...drifting), async (drawn, sizes, runtime) => {
      const options = { ...drawn.options, ...sizes }
      const { x } = makeInput(drawn)
      const forward = makeForwardOptions({ ...drawn, options })
      const on = (where: Runtime) => withLayer(where, options, drawn.call.seed, (layer) => layer.forward(x, forward))
      expectSameBits(await on(runtime), await on(plain))
    }),
    runs(150),
  )
  expect(joined.steps).toBeGreaterThan(0)
})

test.each([
  ['strictly causal', causalConfigs],
  ['published', publishedConfigs],
] as const)('a %s model gives the same bits however far apart its partitions run', async (_name, configs) => {
  await fc.assert(
    fc.asyncProperty(
      configs as fc.Arbitrary<Record<string, unknown> & { num_tokens: number; causal: boolean }>,
      heads,
      fc.constantFrom(...drifting),
      fc.integer({ min: 1, max: 120 }),
      async (drawn, { heads: count, dimHead }, runtime, length) => {
        const config = { ...drawn, heads: count, dim_head: dimHead, max_positions: null }
        const on = async (where: Runtime) => {
          using model = await loadSmallModel(where, config)
          const tokens = randomTokens(length, drawn.num_tokens)
          const session = model.createSession()
          await session.append(tokens)
          return { logits: await model.forward(tokens), inspection: drawn.causal ? await session.inspect() : undefined }
        }
        const [actual, expected] = [await on(runtime), await on(plain)]
        expectSameBits(actual.logits, expected.logits)
        expect(actual.inspection).toEqual(expected.inspection)
      },
    ),
    runs(60),
  )
})
