import { describe, expect, test } from 'vitest'
import { layerCases } from '../support/golden.js'
import { expectGoldenLayer } from '../support/golden-checks.js'
import { allBuilds, openRuntime } from '../support/runtimes.js'

describe.each(allBuilds)('on the %s build', (build) => {
  test.each(layerCases().map((golden) => [golden.name, golden] as const))('the layer reproduces %s exactly', async (_name, golden) => {
    using runtime = openRuntime(build)
    const { layer, trace } = await expectGoldenLayer(runtime, golden, 4 * golden.float32Error + 1e-6)
    expect((await layer.forward(golden.input, golden.forwardOptions)).data).toEqual(trace.out.data)
  })
})
