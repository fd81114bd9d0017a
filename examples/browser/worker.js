// @ts-check
// the package's dist folder in this repository; it needs no bundler
import { LanguageModel } from '../../dist/index.js'

/** @type {string} */
let folder
/** @type {Promise<LanguageModel> | undefined} undefined before the first load and after a failed one */
let loading
let stopping = new AbortController()

addEventListener('message', ({ data }) => {
  const work = data.type === 'load' ? load((folder = data.url)) : data.type === 'generate' ? generate(data.prompt, data.options) : stop()
  work.catch((error) => postMessage({ type: 'error', message: error.message }))
})

/**
 * Loads the model once; a failed load is retried with the next call.
 * @param {string} url
 */
function load(url) {
  loading ??= LanguageModel.load(new URL(url), {
    cache: true, // the next visit loads without the network
    onProgress: ({ done, total }) => postMessage({ type: 'progress', done, total }),
  }).then(
    (model) => {
      postMessage({ type: 'ready', runtime: model.runtime.info })
      return model
    },
    (error) => {
      loading = undefined
      throw error
    },
  )
  return loading
}

/**
 * @param {string} prompt
 * @param {import('../../dist/index.js').GenerateOptions} options
 */
async function generate(prompt, options) {
  stopping = new AbortController()
  const model = await load(folder)
  const begin = performance.now()
  let tokens = 0
  try {
    for await (const { text } of model.generate(prompt, { ...options, signal: stopping.signal })) {
      tokens++
      postMessage({ type: 'text', text })
    }
  } catch (error) {
    if (!stopping.signal.aborted) throw error
  }
  postMessage({ type: 'end', tokens, seconds: (performance.now() - begin) / 1000 })
}

async function stop() {
  stopping.abort()
}
