import { Worker } from 'node:worker_threads'
import asc from 'assemblyscript/asc'
import { describe, expect, test, vi } from 'vitest'
import { BufferIndex } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import { encodeOp } from '../../src/program/encode-op.js'
import { at } from '../../src/program/operand.js'
import { type Device, type DeviceBuffer, Dispatch } from '../../src/device/device.js'
import { createRuntime } from '../../src/device/create-runtime.js'
import type { Runtime } from '../../src/device/runtime.js'
import { ThreadPool } from '../../src/device/wasm/thread-pool.js'
import { ControlWord } from '../../src/device/wasm/worker-source.js'
import { Arena, type Block } from '../../src/memory/arena.js'
import { type LayerOptions, resolveLayerOptions } from '../../src/model/config/config.js'
import { runChunks } from '../../src/model/executor/chunk-scheduler.js'
import { MixtureOfAutoregressiveAttention } from '../../src/model/layer.js'
import { createGeometry } from '../../src/plan/geometry.js'
import { Tensor } from '../../src/tensor.js'
import { nextMacrotask } from '../../src/event-loop.js'
import { outcomeOf } from '../support/interruptions.js'
import { loadNovels, novelsGolden } from '../support/models.js'

const published: LayerOptions = {
  dim: 96,
  heads: 3,
  dimHead: 32,
  numRoutedQueries: 20,
  numRoutedKeyValues: 40,
  localAttnWindowSize: 64,
  cosineSimRouting: true,
}
const causal: LayerOptions = { ...published, selection: 'top-k', causal: true }
const x = Tensor.randn([2, 600, 96], 7)

async function answer(runtime: Runtime, options: LayerOptions): Promise<Float32Array> {
  const layer = new MixtureOfAutoregressiveAttention(runtime, options, { seed: 3 })
  const { data } = await layer.forward(x)
  layer.dispose()
  return data
}

describe.each([
  ['published', published],
  ['causal', causal],
] as const)('a layer with %s routing', (_name, options) => {
  test('gives the same bits on any number of threads', async () => {
    await using one = await createRuntime({ threads: 1 })
    const expected = await answer(one, options)
    for (const threads of [2, 3, 4, 5, 6]) {
      await using runtime = await createRuntime({ threads })
      expect(runtime.info.threads).toBe(threads)
      expect(await answer(runtime, options)).toEqual(expected)
    }
  })

  test('computes overlapping forwards as if they came one by one', async () => {
    await using runtime = await createRuntime({ threads: 2 })
    const expected = await answer(runtime, options)
    const answers = await Promise.all([1, 2, 3, 4].map(() => answer(runtime, options)))
    for (const data of answers) expect(data).toEqual(expected)
  })

  test('fails with a typed error if a thread is lost, reports it, and computes the next forward correctly', async () => {
    await using runtime = await createRuntime({ threads: 2 })
    const expected = await answer(runtime, options)
    const used = runtime.info.memory.used
    const pool = runtime.pool!
    const run = pool.run.bind(pool)
    // lost as the work is handed over, so that it can never be done: without work the calling thread would take over,
    // and nothing would fail
    const handOver = vi.spyOn(pool, 'run').mockImplementationOnce((work) => {
      pool.loseThread()
      return run(work)
    })
    const pending = answer(runtime, options)
    await expect(pending).rejects.toMatchObject({ code: 'WORKER_FAILED' })
    expect(handOver).toHaveBeenCalled()
    expect(runtime.info.threads).toBe(1)
    expect(runtime.info.unavailable.threads).toMatch(/lost/)
    expect(await answer(runtime, options)).toEqual(expected)
    expect(runtime.info.memory.used).toBeLessThanOrEqual(used + 2 * 96 * 96 * 4 * 100)
    await runtime.dispose()
    expect(runtime.info.memory.used).toBe(0)
  })

  test('either completes or fails with DISPOSED when the runtime is disposed of meanwhile', async () => {
    const runtime = await createRuntime({ threads: 2 })
    const layer = new MixtureOfAutoregressiveAttention(runtime, options)
    const pending = layer.forward(x).then(
      () => 'right',
      (error: { code?: string }) => error.code,
    )
    await runtime.dispose()
    expect(['right', 'DISPOSED']).toContain(await pending)
    expect(runtime.info.memory.used).toBe(0)
  })
})

test('a submission that fails while the one before is running fails the call once that is done, and causes no unhandled rejection', async () => {
  const config = resolveLayerOptions(causal)
  const done: string[] = []
  let failed = () => {}
  const failure = new Promise<void>((resolve) => (failed = resolve))
  const device = {
    run: async () => {
      if (done.push('begun') > 1) {
        failed()
        throw new Error('no more')
      }
      await failure
      await nextMacrotask()
      done.push('done')
    },
  } as unknown as Device
  const pieces = runChunks({
    device,
    program: { dispose: () => undefined },
    geometry: createGeometry(config, 40, 300), // five chunks of a window each
    submissions: [[new Dispatch()], [new Dispatch()]],
    start: { position: 0, base: 0 },
    length: 300,
    operationsPerToken: 1,
    prepare: () => undefined,
    interrupt: undefined,
  })
  await expect(pieces).rejects.toThrow('no more')
  expect(done.slice(0, 3)).toEqual(['begun', 'begun', 'done'])
})

test('threads leave the event loop free: a 1 ms timer keeps firing through a long forward', async () => {
  await using runtime = await createRuntime({ threads: 2 })
  const layer = new MixtureOfAutoregressiveAttention(runtime, published)
  let ticks = 0
  const timer = setInterval(() => ticks++, 1)
  const long = Tensor.randn([1, 4000, published.dim], 1)
  let most = 0
  // the end of a forward is one turn of the event loop; a machine that stalls may see no other in many of them
  for (let round = 0; round < 500 && most <= 5; round++) {
    ticks = 0
    await layer.forward(long)
    most = Math.max(most, ticks)
  }
  clearInterval(timer)
  expect(most).toBeGreaterThan(5)
})

test('a session on threads gives the same bits as one on the calling thread', async () => {
  await using one = await createRuntime({ threads: 1 })
  await using two = await createRuntime({ threads: 2 })
  const { inputIds } = novelsGolden()
  const ids = inputIds.slice(0, 300)
  const expected = (await (await loadNovels(one)).forward(ids)).data.slice(-4096)
  const session = (await loadNovels(two)).createSession()
  await session.append(ids.slice(0, 130))
  await session.append(ids.slice(130, 131))
  expect(await session.append(ids.slice(131))).toEqual(expected)
})

/**
 * A pool of two threads that run `source`, an AssemblyScript module with a function `run`, and the address of its
 * control words.
 */
async function startPool(source: string): Promise<{ pool: ThreadPool; arena: Arena; control: number }> {
  const { binary, error, stderr } = await asc.compileString(source, {
    runtime: 'stub',
    importMemory: true,
    sharedMemory: true,
    initialMemory: 1,
    maximumMemory: 16,
    enable: ['threads'],
  })
  if (!binary) throw new Error(`${error?.message} ${stderr.toString()}`)
  const arena = new Arena(new WebAssembly.Memory({ initial: 1, maximum: 16, shared: true }), 1024)
  const allocate = vi.spyOn(arena, 'allocate')
  const pool = await ThreadPool.start(new WebAssembly.Module(Uint8Array.from(binary)), arena, 2)
  return { pool, arena, control: (allocate.mock.results[0]!.value as Block).address }
}

test('work on threads ends when the last of them has left it, since they read the program until then', async () => {
  // A build whose second thread is late: it stays for 200 ms before it marks that it has left.
  const { pool, arena } = await startPool(`
    export function run(program: usize, header: usize, partitions: i32, first: i32, count: i32, barrier: usize, threads: i32): void {
      if (first == 0) return
      atomic.wait<i32>(program, 0, 200_000_000)
      atomic.store<i32>(program, 1, 4)
    }`)
  const program = arena.allocate(8, 'two words')
  for (let round = 0; round < 2; round++) {
    arena.ints.fill(0, program.address / 4, program.address / 4 + 2)
    await pool.run({ program: program.address, headers: 0, headerCount: 1, headerBytes: 0, partitions: 2, workerGroups: 1 })
    expect(Atomics.load(arena.ints, program.address / 4 + 1)).toBe(1)
  }
  await pool.dispose()
})

test('a thread that is woken without work goes back to sleep, and all work is done once', async () => {
  // The host adds to a word and then wakes who waits for it. Between the two a thread that was awake can be through
  // with the work and asleep again.
  const { pool, arena, control } = await startPool(`
    export function run(program: usize, header: usize, partitions: i32, first: i32, count: i32, barrier: usize, threads: i32): void {
      atomic.add<i32>(program, 1)
    }`)
  const runs = arena.allocate(4, 'how many runs there were')
  arena.ints[runs.address / 4] = 0
  const generation = control / 4 + ControlWord.Generation
  for (let round = 1; round <= 4; round++) {
    let woken = 0
    while (woken < 2) {
      woken += Atomics.notify(arena.ints, generation)
      await nextMacrotask()
    }
    await pool.run({ program: runs.address, headers: 0, headerCount: 1, headerBytes: 0, partitions: 2, workerGroups: 1 })
    expect(Atomics.load(arena.ints, runs.address / 4)).toBe(2 * round)
  }
  await pool.dispose()
})

test('threads that end keep the process alive until they have ended, even if they send messages meanwhile', async () => {
  const { pool, arena } = await startPool(`
    export function run(program: usize, header: usize, partitions: i32, first: i32, count: i32, barrier: usize, threads: i32): void {
      atomic.add<i32>(program, 1)
    }`)
  const runs = arena.allocate(4, 'how many runs there were')
  const program = runs.address
  arena.ints[program / 4] = 0
  const outcome = outcomeOf(pool.run({ program, headers: 0, headerCount: 1, headerBytes: 0, partitions: 2, workerGroups: 1 }))
  // both are through, and their message is under way when they are ended: it comes before their end does
  while (Atomics.load(arena.ints, program / 4) < 2) continue
  const until = performance.now() + 100
  while (performance.now() < until) continue
  using unref = vi.spyOn(Worker.prototype, 'unref')
  await pool.dispose()
  expect(unref).not.toHaveBeenCalled()
  expect(await outcome).toMatchObject({ reason: { code: 'DISPOSED' } })
})

test.each([
  ['cannot be read', 'file:///nowhere/worker.js'],
  ['throws', 'data:text/javascript,throw new Error("no")'],
  [
    'is of another version',
    'data:text/javascript,import{parentPort}from"node:worker_threads";parentPort.once("message",()=>parentPort.postMessage({}))',
  ],
])('a worker that %s leaves the memory consistent, with no block allocated twice', async (_what, script) => {
  const arena = new Arena(new WebAssembly.Memory({ initial: 1, maximum: 16, shared: true }), 1024)
  const module = new WebAssembly.Module(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0))
  await expect(ThreadPool.start(module, arena, 2, new URL(script))).rejects.toThrow()
  await nextMacrotask()
  expect(arena.used).toBe(0)
  const blocks = [1, 2, 3].map((i) => arena.allocate(256, `block ${i}`).address)
  expect(new Set(blocks).size).toBe(3)
})

test('a runtime that lost a thread is disposed of only when its other threads have ended', async () => {
  const runtime = await createRuntime({ threads: 2 })
  const { terminate } = Worker.prototype
  let ended = 0
  using slow = vi.spyOn(Worker.prototype, 'terminate').mockImplementation(async function (this: Worker) {
    const code = await terminate.call(this)
    await new Promise((resolve) => setTimeout(resolve, 50))
    ended++
    return code
  })
  runtime.pool!.loseThread()
  while (runtime.info.threads === 2) await nextMacrotask()
  await runtime.dispose()
  expect(slow).toHaveBeenCalledTimes(3) // twice for the one that was lost
  expect(ended).toBe(3)
  expect(runtime.info.memory.used).toBe(0)
})

test('a thread count is checked, and one that an engine cannot start is reported rather than thrown', async () => {
  await expect(createRuntime({ threads: 0 })).rejects.toMatchObject({ code: 'BAD_CONFIG' })
  await expect(createRuntime({ threads: 1.5 })).rejects.toMatchObject({ code: 'BAD_CONFIG' })
  await using runtime = await createRuntime()
  expect(runtime.info.threads).toBeGreaterThanOrEqual(1)
  if (runtime.info.threads === 1) expect(runtime.info.unavailable.threads).toBeTypeOf('string')
})

test("a program's memory may be released once its last op ends: no thread reads it after the last barrier", async () => {
  await using runtime = await createRuntime({ threads: 1 })
  const { device } = runtime
  // the step overwrites its own program, as the host may when the first thread has reported the end and another is late
  const words = encodeOp(Opcode.CopyRows, {
    rows: at(BufferIndex.Call),
    input: at(BufferIndex.Input),
    output: at(BufferIndex.Output),
    stride: 16,
  })
  const program = device.compile({ words: Int32Array.of(...words, Opcode.End) })
  const rows = device.allocate(64, 'a count of rows')
  rows.write(Int32Array.of(1), 0)
  const garbage = device.allocate(64, 'what lies there next')
  garbage.write(new Int32Array(16).fill(0x10000000), 0)
  const dispatch = new Dispatch()
  dispatch.bind(BufferIndex.Call, rows)
  dispatch.bind(BufferIndex.Input, garbage)
  dispatch.bind(BufferIndex.Output, (program as unknown as { buffer: DeviceBuffer }).buffer)
  expect(() => device.runSync(program, dispatch)).not.toThrow()
})
