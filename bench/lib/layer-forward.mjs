/*
 * The layer of bench/reference-models, as ours and onnxruntime compute it. Works in Node and in a page: the libraries
 * are given.
 */
import { layerInput, layerOptions, layerParameters } from './recipe.mjs'

/** Calls until the engine has compiled what they use. */
const WARM_UP = 2

/** @returns the call that is timed, and its result */
async function warm(run, dataOf) {
  const output = dataOf(await run())
  for (let i = 0; i < WARM_UP; i++) await run()
  return { run, output }
}

/**
 * Ours.
 * @param library the package
 * @param options of the layer, beside the recipe's
 * @returns prepares the forward of n tokens
 */
export function openOurs({ MixtureOfAutoregressiveAttention, Tensor }, runtime, options = {}) {
  const layer = new MixtureOfAutoregressiveAttention(runtime, { ...layerOptions, ...options })
  layer.loadStateDict(new Map(layerParameters().map(([name, values, shape]) => [name, new Tensor(values, shape)])))
  return (n) => {
    const x = new Tensor(layerInput(n), [1, n, layerOptions.dim])
    return warm(
      () => layer.forward(x),
      ({ data }) => data,
    )
  }
}

/**
 * onnxruntime's, for the layer or any graph of one input and one output.
 * @param ort onnxruntime-web or -node
 * @param provider 'wasm' or 'cpu'
 * @returns prepares a run of a model file's bytes
 */
export function openOnnxruntime(ort, provider, threads) {
  const options = { executionProviders: [provider], graphOptimizationLevel: 'all', intraOpNumThreads: threads }
  if (provider === 'wasm') ort.env.wasm.numThreads = threads
  return async (model, x, shape) => {
    const session = await ort.InferenceSession.create(model, options)
    const feeds = { x: new ort.Tensor('float32', x, shape) }
    return warm(
      () => session.run(feeds),
      (results) => Object.values(results)[0].data,
    )
  }
}
