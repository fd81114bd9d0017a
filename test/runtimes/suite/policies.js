import { check, equal, rejects, run } from './check.js'

/*
 * What a page's Content-Security-Policy allows, and what the package says of the rest; each page of
 * `policy.html?POLICY` has one.
 */

/** @param {import('routed-attention')} api */
async function layerOnTwoThreads({ createRuntime, MixtureOfAutoregressiveAttention, Tensor }, /** @type {URL | undefined} */ worker) {
  const runtime = await createRuntime({ threads: 2, ...(worker && { worker }) })
  const layer = new MixtureOfAutoregressiveAttention(
    runtime,
    { dim: 64, numRoutedQueries: 8, numRoutedKeyValues: 8, localAttnWindowSize: 32 },
    { seed: 1 },
  )
  const { data } = await layer.forward(Tensor.randn([2, 400, 64], 1))
  check(data.some((value) => value !== 0) && data.every(Number.isFinite), 'the layer answers nothing')
  const { info } = runtime
  await runtime.dispose()
  return info
}

/** @type {Record<string, (api: import('routed-attention')) => [string, () => Promise<unknown>][]>} */
export const policies = {
  'no-blob': (api) => [
    [
      'where blob: workers are forbidden, computes on one thread and says what to do',
      async () => {
        const { threads, unavailable } = await layerOnTwoThreads(api)
        equal(threads, 1, 'threads')
        check(
          /blob:.*worker-src.*routed-attention\/worker\.js.*`worker`/.test(unavailable.threads ?? ''),
          `threads are unavailable because "${unavailable.threads}"`,
        )
      },
    ],
    [
      'starts threads there from a hosted worker file',
      async () => {
        const { threads, unavailable } = await layerOnTwoThreads(
          api,
          new URL('/node_modules/routed-attention/dist/worker.js', location.href),
        )
        equal({ threads, unavailable }, { threads: 2, unavailable: {} }, 'info')
      },
    ],
    [
      'names the worker file that is not there',
      async () => {
        const { threads, unavailable } = await layerOnTwoThreads(api, new URL('/nowhere/worker.js', location.href))
        equal(threads, 1, 'threads')
        check(/\/nowhere\/worker\.js/.test(unavailable.threads ?? ''), `threads are unavailable because "${unavailable.threads}"`)
      },
    ],
    [
      'refuses a worker file of another version',
      async () => {
        const { threads, unavailable } = await layerOnTwoThreads(api, new URL('/old/worker.js', location.href))
        equal(threads, 1, 'threads')
        check(/version/.test(unavailable.threads ?? ''), `threads are unavailable because "${unavailable.threads}"`)
      },
    ],
  ],
  'no-wasm': ({ createRuntime }) => [
    [
      "where WebAssembly is forbidden, names the directive 'wasm-unsafe-eval'",
      () => rejects(createRuntime(), 'UNSUPPORTED', /'wasm-unsafe-eval'.*script-src/),
    ],
  ],
}

/** @param {import('routed-attention')} api @param {string} policy */
export const runPolicy = (api, policy) => run(/** @type {NonNullable<typeof policies[string]>} */ (policies[policy])(api))
