/** Values and environments of another realm: Jest's, vitest's vmThreads and jsdom, node:vm, same-origin iframes. */
import { fileURLToPath } from 'node:url'
import vm from 'node:vm'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type * as api from '../../src/index.js'
import { createRuntime, LanguageModel, MixtureOfAutoregressiveAttention, type Runtime, Tensor } from '../../src/index.js'
import { expectSameBits } from '../support/bits.js'
import { causalConfig, randomTokens, smallModel, smallModelFiles } from '../support/small-models.js'

type Api = typeof api

let runtime: Runtime
beforeAll(async () => void (runtime = await createRuntime({ threads: 1 })))
afterAll(() => runtime.dispose())

const files = smallModelFiles(smallModel(causalConfig))
const ids = randomTokens(40, causalConfig.num_tokens)
const layerOptions = { dim: 6, heads: 2, dimHead: 4, numRoutedQueries: 2, numRoutedKeyValues: 3, localAttnWindowSize: 4 }

/** The values of another realm, which has nothing but the language. */
const other = vm.runInContext(
  '({ Uint8Array, Int32Array, Float32Array, Float64Array, Map, Error, Object, Array })',
  vm.createContext({}),
) as typeof globalThis

/** An AbortSignal that this realm's class knows nothing of. */
function otherSignal(reason?: unknown): AbortSignal {
  const { signal } = new AbortController()
  const aborted = reason !== undefined
  return vm.runInContext(
    `({ aborted, reason, throwIfAborted() { if (aborted) throw reason }, addEventListener() {}, removeEventListener() {} })`,
    vm.createContext({ aborted, reason, signal }),
  ) as AbortSignal
}

/** A URL of another class, as jsdom's. */
const otherUrl = (href: string): URL => {
  const { protocol, pathname, searchParams, host, origin } = new URL(href)
  return vm.runInContext(
    '({ href, protocol, pathname, host, origin, searchParams, toString() { return href } })',
    vm.createContext({ href, protocol, pathname, host, origin, searchParams }),
  ) as URL
}

describe('values of another realm are accepted like ours', () => {
  test('bytes and a Map of them, as a model', async () => {
    const [mine, theirs] = [
      await LanguageModel.load(files, { runtime }),
      await LanguageModel.load(new other.Map([...files].map(([name, bytes]) => [name, other.Uint8Array.from(bytes)])), {
        runtime,
        signal: otherSignal(),
      }),
    ]
    const logits = await mine.forward(ids)
    expectSameBits(await theirs.forward(ids), logits)
    expectSameBits(await mine.forward(other.Int32Array.from(ids)), logits)
    expectSameBits(await mine.forward(other.Array.from(ids)), logits)

    const session = mine.createSession()
    await session.append(other.Uint8Array.from(ids.slice(0, -1)), { signal: otherSignal() })
    const resumed = theirs.restoreSession(other.Uint8Array.from(session.save()))
    expect([...(await resumed.append(ids.slice(-1)))]).toEqual([...logits.data.slice(-causalConfig.num_tokens)])
    mine.dispose()
    theirs.dispose()
  })

  test('floats, as a Tensor, and a state dict of them', async () => {
    const [mine, theirs] = [1, 2].map((seed) => new MixtureOfAutoregressiveAttention(runtime, layerOptions, { seed })) as [Layer, Layer]
    const state = new other.Map<string, Tensor>()
    for (const { name, shape } of parameters(mine)) state.set(name, new Tensor(other.Float32Array.from(Tensor.randn(shape, 5).data), shape))
    mine.loadStateDict(Object.fromEntries(state))
    theirs.loadStateDict(state)
    const x = Tensor.randn([1, 20, 6], 3)
    expectSameBits(await theirs.forward(new Tensor(other.Float32Array.from(x.data), other.Array.from(x.shape))), await mine.forward(x))
    mine.dispose()
    theirs.dispose()
  })

  test('a signal’s reason, which is thrown as it is', async () => {
    const reason = new other.Error('enough')
    await expect(LanguageModel.load(files, { runtime, signal: otherSignal(reason) })).rejects.toBe(reason)
    await expect(createRuntime({ signal: otherSignal(reason) })).rejects.toBe(reason)
  })

  test('a URL, of a model', async () => {
    const model = await LanguageModel.load(otherUrl(new URL('../../models/novels-10m/', import.meta.url).href), { runtime })
    expect(model.hasTokenizer).toBe(true)
    model.dispose()
  })

  test('bytes and modules of a build', async () => {
    const bytes = new Uint8Array(await import('node:fs').then(({ readFileSync }) => readFileSync('build/baseline.wasm')))
    const OtherWasm = vm.runInContext('WebAssembly', vm.createContext({})) as typeof WebAssembly
    for (const wasm of [other.Uint8Array.from(bytes), await OtherWasm.compile(bytes)]) {
      const own = await createRuntime({ wasm, threads: 1 })
      expect(own.info.device).toBe('wasm')
      await own.dispose()
    }
  })

  test('and other values are still rejected', () => {
    for (const data of [new other.Float64Array(2), [0, 0], other.Object.create({ length: 2 })])
      expect(() => new Tensor(data as never, [2])).toThrow(/must be a Float32Array/)
  })
})

type Layer = MixtureOfAutoregressiveAttention

/** Names and shapes of a layer's parameters. */
function parameters(layer: Layer): { name: string; shape: number[] }[] {
  let message = ''
  try {
    layer.loadStateDict({})
  } catch (error) {
    message = (error as Error).message
  }
  return [...message.matchAll(/([a-z_.]+) \[([\d, ]+)\]/g)].map(([, name, shape]) => ({
    name: name!,
    shape: shape!.split(', ').map(Number),
  }))
}

describe.each(['index', 'webgpu'])('the built entry %s', (entry) => {
  let source: string
  beforeAll(async () => {
    const { outputFiles } = await build({
      entryPoints: [fileURLToPath(new URL(`../../dist/${entry}.js`, import.meta.url))],
      bundle: true,
      format: 'iife',
      globalName: 'api',
      external: ['node:*'],
      write: false,
      logLevel: 'error',
    })
    source = outputFiles[0]!.text
  })

  const run = (globals: object) => vm.runInContext(`${source}\napi`, vm.createContext(globals)) as Api

  test('has no side effects at import', () => {
    // neither TextDecoder, as under jest-environment-jsdom, nor URL, performance, a console or timers
    expect(run({}).createRuntime).toBeTypeOf('function')
    const touched: PropertyKey[] = []
    const platform = new Proxy(
      {},
      {
        has: (target, name) => (touched.push(name), Reflect.has(target, name)),
        get: (target, name): unknown => (touched.push(name), Reflect.get(target, name)),
      },
    )
    run({ navigator: platform, process: platform })
    expect(touched).toEqual([])
  })

  test('does not load Intl at import, whose first use takes 24 ms', () => {
    const refuse = `for (const [owner, name] of [[Number.prototype, 'toLocaleString'], [String.prototype, 'localeCompare'], [globalThis, 'Intl']])
      Object.defineProperty(owner, name, { get() { throw new Error(name + ' loads Intl') } })`
    expect((vm.runInContext(`${refuse}\n${source}\napi`, vm.createContext({})) as Api).createRuntime).toBeTypeOf('function')
  })

  test('works in a realm of its own, with values of ours and of its', async () => {
    const names = [
      'URL',
      'TextDecoder',
      'TextEncoder',
      'AbortController',
      'AbortSignal',
      'performance',
      'setTimeout',
      'clearTimeout',
      'atob',
    ]
    const more = ['setImmediate', 'MessageChannel', 'process', 'queueMicrotask', 'DOMException', 'SharedArrayBuffer']
    const globals = Object.fromEntries([...names, ...more].map((name) => [name, (globalThis as Record<string, unknown>)[name]]))
    const theirs = run(globals)
    const own = await theirs.createRuntime({ threads: 1 })
    const model = await theirs.LanguageModel.load(files, { runtime: own })
    const mine = await LanguageModel.load(files, { runtime })
    const logits = await model.forward(ids)
    expectSameBits(logits, await mine.forward(ids))
    // results are of the realm that the package was loaded in
    expect(Object.prototype.toString.call(logits.data)).toBe('[object Float32Array]')
    expect(logits).toBeInstanceOf(theirs.Tensor)
    await expect(model.forward([-1])).rejects.toBeInstanceOf(theirs.RoutedAttentionError)
    let text = 0
    for await (const token of model.generate([1], { maxTokens: 5 })) text += token.id >= 0 ? 1 : 0
    expect(text).toBe(5)
    mine.dispose()
    await own.dispose()
  })
})
