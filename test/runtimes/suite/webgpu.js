import { check, equal, near, rejects, run } from './check.js'
import { layerCases, modelFiles } from './golden.js'

/** Small ones, which between them have everything that a layer can do. */
const LAYERS = ['window-plus-one', 'odd-sizes', 'causal-rotary']
/** Tokens read one by one: several windows, and more keys than are taken. */
const TOKENS = 60

/**
 * What the package promises where there is WebGPU.
 * @param {import('routed-attention')} api
 * @param {object} host
 * @param {string} host.data where golden values are served
 * @param {string} host.adapter a pattern that the adapter's name must have
 */
export function runWebGpuSuite(api, { data, adapter }) {
  const { createRuntime, LanguageModel, MixtureOfAutoregressiveAttention } = api
  const read = async (/** @type {string} */ path) => {
    const response = await fetch(new URL(path, data))
    check(response.ok, `${path} answered ${response.status}`)
    return new Uint8Array(await response.arrayBuffer())
  }
  /** @type {import('routed-attention').Runtime} */
  let runtime
  /** @type {import('routed-attention').LanguageModel} */
  let model
  /** @type {Awaited<ReturnType<typeof modelFiles>>} */
  let golden

  return run([
    [
      'computes on the GPU that it is told to use, and names it',
      async () => {
        runtime = await createRuntime({ device: 'webgpu', threads: 1 })
        equal(runtime.info.device, 'webgpu', 'device')
        check(new RegExp(adapter, 'i').test(runtime.info.adapter ?? ''), `the adapter is "${runtime.info.adapter}", expected ${adapter}`)
        equal(runtime.info.unavailable.webgpu, undefined, 'what is unavailable')
      },
    ],
    [
      'takes no processor for a GPU unless it is told to, and says so',
      async () => {
        const automatic = await createRuntime({ device: 'auto', threads: 1 })
        equal(automatic.info.device, 'wasm', 'device')
        check(
          /is a CPU emulating a GPU/.test(automatic.info.unavailable.webgpu ?? ''),
          `WebGPU is unavailable because "${automatic.info.unavailable.webgpu}"`,
        )
        await automatic.dispose()
      },
    ],
    [
      'gives the golden values of layers, the same bits twice',
      async () => {
        const cases = (await layerCases(read)).filter(({ name }) => LAYERS.includes(name))
        equal(cases.length, LAYERS.length, 'golden cases')
        for (const { name, options, webGpuTolerance, make, stored } of cases) {
          const { input, parameters, forwardOptions, expected } = await make(api)
          const layer = new MixtureOfAutoregressiveAttention(runtime, /** @type {any} */ (options))
          layer.loadStateDict(parameters)
          const { data } = await layer.forward(input, forwardOptions)
          near(stored(data), expected, webGpuTolerance, name)
          equal((await layer.forward(input, forwardOptions)).data, data, `${name}, once more`)
          layer.dispose()
        }
      },
    ],
    [
      'gives the golden logits of a causal model, the same bits by tokens as at once',
      async () => {
        golden = await modelFiles(read, 'lm-causal')
        model = await LanguageModel.load(golden.files, { runtime })
        const ids = golden.inputIds.slice(0, TOKENS)
        const logits = await model.forward(ids)
        near(logits.data, golden.logits.subarray(0, logits.data.length), golden.webGpuTolerance, 'logits')
        const session = model.createSession()
        for (const id of ids) {
          const { position } = session
          const row = logits.data.subarray(position * model.config.numTokens, (position + 1) * model.config.numTokens)
          equal(await session.append([id]), row, `after token ${position}`)
        }
        session.dispose()
      },
    ],
    [
      'saves a session that WebAssembly continues, and continues one that came from there',
      async () => {
        const processor = await createRuntime({ threads: 1 })
        const there = await LanguageModel.load(golden.files, { runtime: processor })
        const { numTokens } = model.config
        // each word once: of equal ones another arithmetic may choose another, once a session has moved
        const ids = [...Array(numTokens).keys()]
        const { data } = await there.forward(ids)
        const rowOf = (/** @type {number} */ tokens) => data.subarray((tokens - 1) * numTokens, tokens * numTokens)
        const session = model.createSession()
        await session.append(ids.slice(0, 8))
        const moved = there.restoreSession(session.save())
        equal(await moved.append([]), await session.append([]), 'the logits it was saved with')
        near(await moved.append(ids.slice(8, 14)), rowOf(14), golden.webGpuTolerance, 'logits on the processor')
        const back = model.restoreSession(moved.save())
        equal(back.position, 14, 'position')
        near(await back.append(ids.slice(14)), rowOf(numTokens), golden.webGpuTolerance, 'logits on the GPU again')
        await processor.dispose()
      },
    ],
    [
      'gives all memory back',
      async () => {
        check(runtime.info.memory.used > 0, 'nothing is in use')
        await runtime.dispose()
        equal(runtime.info.memory.used, 0, 'bytes in use')
        await rejects(model.forward([1]), 'DISPOSED', /dispos/)
      },
    ],
  ])
}
