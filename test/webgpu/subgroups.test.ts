import { beforeAll, describe, expect, test } from 'vitest'
import type { WebGpuDevice } from '../../src/device/webgpu/webgpu-device.js'
import { range } from '../kernels/float32.js'
import { listCases, listQueriesOp } from '../kernels/list-queries-op.js'
import { causalScoreKinds, scoreKinds } from '../kernels/op-cases.js'
import { selectionRules } from '../kernels/selection-runner.js'
import { noSubgroups, openDevice } from './gpu.js'
import { contextOp, keyValuesOp, queriesOp, routeOp, slotsOp } from './selection-ops.js'
import type { OpName } from '../../src/program/encode-op.js'
import { type OpCase, wordsFrom } from './op-comparison.js'

describe.skipIf(noSubgroups)('with subgroups, bit for bit as without,', () => {
  let device: WebGpuDevice
  let plain: WebGpuDevice
  beforeAll(async () => {
    device = await openDevice()
    plain = await openDevice({ subgroups: false })
  })

  async function expectSameBits<O extends OpName>(make: () => OpCase<O>, about: string) {
    const expected = await wordsFrom(plain, make())
    expect(await wordsFrom(device, make()), about).toEqual(expected)
  }

  test('a GPU has them if they are requested, and only then', () => {
    expect(device.gpu.features.has('subgroups')).toBe(true)
    expect(plain.gpu.features.has('subgroups')).toBe(false)
  })

  test.each(['coordinate descent, scores carried', 'top-k', 'one pass of descent'])('a window’s selections by %s', async (name) => {
    const rule = selectionRules[name]!
    for (const [kind, draw] of Object.entries(scoreKinds)) {
      for (const [length, windowSize, count] of [
        [17, 8, 1],
        [700, 333, 30],
        [2700, 1290, 100],
      ] as const) {
        const options = { routerScores: range(2).map((expert) => draw(length, length + expert)), windowSize, count, rule }
        await expectSameBits(() => queriesOp(options), `queries, ${kind}, of ${length}`)
        await expectSameBits(() => keyValuesOp(options), `key/values, ${kind}, of ${length}`)
      }
    }
  })

  test('rows of several chunks are selected from', async () => {
    const routerScores = range(2).map((expert) => scoreKinds['often tied']!(9000, expert))
    const options = { routerScores, windowSize: 8400, count: 700, rule: selectionRules['top-k']! }
    await expectSameBits(() => queriesOp(options), 'queries')
    await expectSameBits(() => keyValuesOp(options), 'key/values')
  })

  test('selected tokens are numbered', async () => {
    for (const length of [0, 1, 17, 8191, 8600]) {
      for (const stride of [0, 8600]) await expectSameBits(() => slotsOp(length, 3, stride), `${length} tokens, ${stride} apart`)
    }
  })

  test('queries are listed', async () => {
    for (const options of listCases) await expectSameBits(() => listQueriesOp(options), JSON.stringify(options))
  })

  test('tokens are routed causally, and contexts updated with a closing window', async () => {
    for (const [kind, draw] of Object.entries(causalScoreKinds)) {
      for (const [window, count, offset, rows] of [
        [37, 1, 5, 20],
        [37, 3, 36, 1],
        [700, 8, 255, 300],
      ] as const) {
        await expectSameBits(() => routeOp(draw, window, count, offset, rows), `${kind}: ${rows} rows of ${window}`)
      }
      for (const [before, window, count] of [
        [0, 1, 1],
        [9, 40, 9],
        [1000, 333, 1100],
      ] as const) {
        await expectSameBits(() => contextOp(draw, before, window, count), `${kind}: ${window} join ${before} of ${count}`)
      }
    }
  })
})
