import { check, equal, near, rejects, run } from './check.js'
import { layerCases, tensors } from './golden.js'

/**
 * What the package promises on every engine.
 * @param {import('routed-attention')} api the package, however this host came by it
 * @param {object} host
 * @param {string} host.id
 * @param {string} host.data where golden values, the model and sessions are served
 * @param {string} [host.folder] the model's folder, where there is a file system
 * @param {Expected} host.expected
 *
 * @typedef {object} Expected
 * @property {'baseline' | 'relaxed'} simd
 * @property {1 | 2} threads how many are used when two are asked for
 * @property {Record<string, string>} unavailable for each thing that is not used, a pattern that `info` must give as
 * the reason
 * @property {[string, string]} [noFolder] code and message where a model's folder cannot be read; by default that there
 * is no file system
 */
export function runSuite(api, host) {
  const { createRuntime, LanguageModel, MixtureOfAutoregressiveAttention, Tensor } = api
  const { data, expected } = host
  const modelUrl = new URL('models/novels-10m', data)
  const read = async (/** @type {string} */ path) => {
    const response = await fetch(new URL(path, data))
    check(response.ok, `${path} answered ${response.status}`)
    return new Uint8Array(await response.arrayBuffer())
  }
  /** @type {Record<string, any>} */
  let golden
  /** @type {import('routed-attention').Runtime} */
  let runtime
  /** @type {import('routed-attention').LanguageModel} */
  let model

  /**
   * The most likely next 64 tokens, one after the other.
   * @param {import('routed-attention').Session} session
   * @param {Float32Array} logits
   */
  const greedy = async (session, logits) => {
    const ids = []
    for (let next = logits; ids.length < 64; next = await session.append([ids[ids.length - 1]])) ids.push(next.indexOf(Math.max(...next)))
    return ids
  }

  return run([
    [
      'uses what this engine has, and says why it does not use the rest',
      async () => {
        runtime = await createRuntime({ threads: 2 })
        const { simd, threads, unavailable: reasons } = runtime.info
        // where a clock ticks too slowly, as pages that are not isolated have it, or not at all, kernels are not timed
        const { timing, ...unavailable } = reasons
        check(timing === undefined || /clock (does not advance|ticks only every)/.test(timing), `timing is unavailable because "${timing}"`)
        equal({ simd, threads }, { simd: expected.simd, threads: expected.threads }, `info (${JSON.stringify(unavailable)})`)
        equal(Object.keys(unavailable).sort(), Object.keys(expected.unavailable).sort(), 'what is unavailable')
        for (const [name, pattern] of Object.entries(expected.unavailable))
          check(new RegExp(pattern).test(unavailable[name]), `${name} is unavailable because "${unavailable[name]}", expected ${pattern}`)
        const automatic = await createRuntime()
        check(automatic.info.threads >= 1 && automatic.info.simd === expected.simd, `without options: ${JSON.stringify(automatic.info)}`)
        await automatic.dispose()
      },
    ],
    [
      'computes without a GPU where there is none, and says why',
      async () => {
        const either = await createRuntime({ device: 'auto', threads: 1 })
        const { device, adapter, unavailable: reasons } = either.info
        check(
          device === 'webgpu' ? adapter : reasons.webgpu,
          `neither an adapter nor a reason against WebGPU: ${JSON.stringify(either.info)}`,
        )
        await either.dispose()
        if (device === 'wasm' && !/is a CPU emulating a GPU/.test(reasons.webgpu ?? ''))
          await rejects(createRuntime({ device: 'webgpu' }), 'UNSUPPORTED', /WebGPU.*'wasm'/)
      },
    ],
    [
      'gives the golden values of every layer',
      async () => {
        const cases = await layerCases(read)
        check(cases.length >= 20, `there are only ${cases.length} golden cases`)
        for (const { name, options, tolerance, make, stored } of cases) {
          const { input, parameters, forwardOptions, expected } = await make(api)
          const layer = new MixtureOfAutoregressiveAttention(runtime, /** @type {any} */ (options))
          layer.loadStateDict(parameters)
          near(stored((await layer.forward(input, forwardOptions)).data), expected, tolerance, name)
          layer.dispose()
        }
      },
    ],
    [
      'loads a model over HTTP, with progress, and gives its golden logits and bits',
      async () => {
        golden = tensors(await read('models/novels-10m/golden.safetensors'))
        let progress = { done: 0, total: -1 }
        model = await LanguageModel.load(modelUrl, { runtime, onProgress: (event) => void (progress = event) })
        check(progress.done === progress.total && progress.total > 20e6, `the last progress was ${JSON.stringify(progress)}`)
        const logits = await model.forward(golden.input_ids)
        near(logits.data.subarray(-golden.logits.length), golden.logits, 2e-3, 'logits')
        const { bitsPerToken, tokens } = await model.evaluate(golden.input_ids)
        const bits = /** @type {Float32Array} */ (golden.bits).reduce((sum, value) => sum + value, 0) / 699
        equal(tokens, 699, 'evaluated tokens')
        near([bitsPerToken], [bits], 5e-5, 'bits a token')
      },
    ],
    [
      'writes the 64 greedy tokens, and reads and writes text',
      async () => {
        const ids = []
        let text = ''
        for await (const token of model.generate(golden.prompt_ids, { maxTokens: 64, temperature: 0 })) {
          ids.push(token.id)
          text += token.text
        }
        equal(ids, golden.greedy_ids, 'tokens')
        equal(text, model.tokenizer.decode(ids), 'text')
        const sentence = 'The old captain put down his glass; it was “empty”.'
        equal(model.tokenizer.decode(model.tokenizer.encode(sentence)), sentence, 'a sentence, there and back')
      },
    ],
    [
      'multiplies int8 weights, with relaxed SIMD where there is any',
      async () => {
        const int8 = await LanguageModel.load(modelUrl, { runtime, quantize: 'int8' })
        const { kernels, unavailable } = runtime.info
        check(unavailable.int8 === undefined, `int8 is unavailable because "${unavailable.int8}"`)
        check(/of int(8|8 by pairs|16)$/.test(`${kernels.int8Tile}`), `the tile is "${kernels.int8Tile}"`)
        check(expected.simd === 'relaxed' || kernels.int8Row === '1x32 of int16', `the row is "${kernels.int8Row}"`)
        // fused and unfused arithmetic round a few activations to different integers: 4.5424 and 4.5434
        near([(await int8.evaluate(golden.input_ids)).bitsPerToken], [4.5429], 0.002, 'bits a token')
        int8.dispose()
      },
    ],
    [
      expected.threads === 2
        ? 'gives the same bits on two threads as on one'
        : 'gives the same bits with two threads asked for, though one computes',
      async () => {
        const options = { dim: 96, heads: 3, dimHead: 32, numRoutedQueries: 20, numRoutedKeyValues: 40, localAttnWindowSize: 64 }
        const x = Tensor.randn([2, 600, 96], 7)
        const one = await createRuntime({ threads: 1 })
        equal(one.info.threads, 1, 'threads')
        const answers = await Promise.all(
          [one, runtime].map((on) => new MixtureOfAutoregressiveAttention(on, options, { seed: 3 }).forward(x).then((out) => out.data)),
        )
        check(
          answers[0].some((value) => value !== 0),
          'all is zero',
        )
        equal(answers[1], answers[0], 'values')
        await one.dispose()
      },
    ],
    [
      'continues a session that was saved in Node: 64 greedy tokens',
      async () => {
        const session = model.restoreSession(await read('sessions/node'))
        equal(session.position, 300, 'position')
        equal(await greedy(session, await session.append([])), golden.greedy_ids, 'tokens')
        session.dispose()
      },
    ],
    [
      'saves a session, for Node to continue',
      async () => {
        const session = model.createSession()
        await session.append(golden.prompt_ids)
        const { ok } = await fetch(new URL(`sessions/${host.id}`, data), { method: 'POST', body: /** @type {any} */ (session.save()) })
        check(ok, 'the session was not taken')
        session.dispose()
      },
    ],
    [
      host.folder ? 'loads a model from a folder' : 'says that a folder needs a file system',
      async () => {
        if (!host.folder) {
          const [code, message] = expected.noFolder ?? ['UNSUPPORTED', 'file system.*URL']
          return rejects(LanguageModel.load('models/novels-10m', { runtime }), code, new RegExp(message))
        }
        const local = await LanguageModel.load(host.folder, { runtime })
        equal((await local.forward([1, 2, 3])).data, (await model.forward([1, 2, 3])).data, 'logits')
        local.dispose()
      },
    ],
    [
      'gives all memory back',
      async () => {
        model.dispose()
        await runtime.dispose()
        equal(runtime.info.memory.used, 0, 'bytes in use')
        await rejects(model.forward([1]), 'DISPOSED', /dispos/)
      },
    ],
  ])
}
