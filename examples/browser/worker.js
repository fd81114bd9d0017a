// @ts-check
// The package's dist folder, as it lies beside this example; nothing in it needs a bundler.
import { LanguageModel } from '../../dist/index.js'

/** @type {LanguageModel | undefined} */
let model
let stopping = new AbortController()

addEventListener('message', ({ data }) => {
  const work = data.type === 'load' ? load(data.url) : data.type === 'generate' ? generate(data.prompt, data.options) : stop()
  work.catch((error) => postMessage({ type: 'error', message: error.message }))
})

/** @param {string} url */
async function load(url) {
  model = await LanguageModel.load(new URL(url), {
    cache: true, // the next visit loads without the network
    onProgress: ({ done, total }) => postMessage({ type: 'progress', done, total }),
  })
  postMessage({ type: 'ready', runtime: model.runtime.info })
}

/**
 * @param {string} prompt
 * @param {import('../../dist/index.js').GenerateOptions} options
 */
async function generate(prompt, options) {
  stopping = new AbortController()
  const begin = performance.now()
  let tokens = 0
  try {
    for await (const { text } of /** @type {LanguageModel} */ (model).generate(prompt, { ...options, signal: stopping.signal })) {
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
