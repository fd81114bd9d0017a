import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { TileShape } from '../../assembly/ir/values.js'
import { createRuntime } from '../../src/device/create-runtime.js'
import { chooseTile } from '../../src/device/wasm/choose-tile.js'
import { WasmDevice } from '../../src/device/wasm/wasm-device.js'
import { createMemory, instantiateKernels } from '../../src/device/wasm/instantiate.js'

/** A module that no other test has timed, and a device that runs it. */
function freshDevice(): { module: WebAssembly.Module; device: WasmDevice } {
  const module = new WebAssembly.Module(readFileSync(new URL('../../build/baseline.wasm', import.meta.url)))
  const memory = createMemory()
  return { module, device: new WasmDevice(instantiateKernels(module, memory), memory) }
}

/**
 * A clock on which a product takes as long as `milliseconds` says of its shape, and that counts how often it is read.
 */
function clockOf(device: WasmDevice, milliseconds: (shape: TileShape) => number) {
  const clock = { readings: 0, time: 1000, now: () => 0 }
  clock.now = () => {
    clock.readings++
    return (clock.time += milliseconds(device.tileShape))
  }
  return clock
}

describe('choosing a tile', () => {
  test.each([TileShape.Gemm6x8Unrolled, TileShape.Gemm2x24, TileShape.Gemm2x24Unrolled])(
    'takes the fastest shape: number %s',
    (fastest) => {
      const { module, device } = freshDevice()
      const clock = clockOf(device, (shape) => (shape === fastest ? 0.01 : 0.012))
      expect(chooseTile(module, device, false, clock.now)).toEqual({ shape: fastest, unavailable: undefined })
    },
  )

  test('takes the 256-bit shape only if the engine is configured for it', () => {
    const fastest = (shape: TileShape) => (shape === TileShape.Gemm6x16 ? 0.005 : 0.01)
    for (const [widens, expected] of [
      [true, TileShape.Gemm6x16],
      [false, TileShape.Gemm6x8],
    ] as const) {
      const { module, device } = freshDevice()
      expect(chooseTile(module, device, widens, clockOf(device, fastest).now).shape).toBe(expected)
    }
  })

  test('keeps the default where another is faster by no more than noise', () => {
    const { module, device } = freshDevice()
    expect(chooseTile(module, device, false, clockOf(device, (shape) => (shape === TileShape.Gemm2x24 ? 0.0099 : 0.01)).now).shape).toBe(
      TileShape.Gemm6x8,
    )
  })

  test('waits until the engine has stopped becoming faster', () => {
    const { module, device } = freshDevice()
    const start = 1000
    // what is slowest for 15 ms is fastest afterwards
    const clock = clockOf(device, (shape) => (shape !== TileShape.Gemm2x24 ? 0.012 : clock.time - start < 15 ? 0.015 : 0.006))
    expect(chooseTile(module, device, false, clock.now).shape).toBe(TileShape.Gemm2x24)
  })

  test('waits for a shape that the engine has not optimized yet', () => {
    const { module, device } = freshDevice()
    const start = 1000
    // five times as slow as the others for 50 ms, while nothing changes
    const clock = clockOf(device, (shape) => (shape !== TileShape.Gemm2x24 ? 0.012 : clock.time - start < 50 ? 0.06 : 0.01))
    expect(chooseTile(module, device, false, clock.now).shape).toBe(TileShape.Gemm2x24)
  })

  test('happens once for each module', () => {
    const { module, device } = freshDevice()
    const first = chooseTile(module, device, false)
    const clock = clockOf(device, () => 1)
    expect(chooseTile(module, device, false, clock.now)).toBe(first)
    expect(clock.readings).toBe(0)
  })

  test.each([
    ['does not advance', 0, /does not advance/],
    ['ticks every millisecond', 1, /every 1.00 ms/],
  ])('takes the default, and says why, if the clock %s', (_name, tick, reason) => {
    const { module, device } = freshDevice()
    const clock = clockOf(device, () => tick)
    const { shape, unavailable } = chooseTile(module, device, true, clock.now)
    expect(shape).toBe(TileShape.Gemm6x8)
    expect(unavailable).toMatch(reason)
    expect(clock.readings).toBeLessThan(20_000)
  })

  test('leaves no memory in use', () => {
    const { module, device } = freshDevice()
    const { used } = device.arena
    chooseTile(module, device, false)
    expect(device.arena.used).toBe(used)
  })
})

test('runtime.info names the shapes in use, and says why there are no 256-bit kernels if they were requested', async () => {
  using runtime = await createRuntime({ threads: 1, revectorize: true })
  expect(runtime.info.kernels.tile).toMatch(/^\dx\d+( unrolled| in 256 bits)?$/)
  if (!runtime.info.kernels.tile.endsWith('256 bits')) expect(runtime.info.unavailable.revectorize).toMatch(/256/)
})
