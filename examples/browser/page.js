// @ts-check

const element = /** @param {string} id */ (id) => /** @type {any} */ (document.getElementById(id))
const [form, prompt, write, stop, progress, text, status] = ['form', 'prompt', 'write', 'stop', 'progress', 'text', 'status'].map(element)

/** Whether a text is being written, or waits for the model. */
let isWriting = false

const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' })
worker.addEventListener('message', ({ data }) => {
  switch (data.type) {
    case 'progress':
      progress.hidden = false
      progress.max = data.total
      progress.value = data.done
      return
    case 'ready':
      progress.hidden = true
      status.textContent = `Ready: ${data.runtime.simd} SIMD, threads: ${data.runtime.threads}.`
      return setWriting(isWriting)
    case 'text':
      text.textContent += data.text
      return
    case 'end':
      status.textContent = `${data.tokens} tokens, ${(data.tokens / data.seconds).toFixed(0)} a second.`
      return setWriting(false)
    case 'error':
      progress.hidden = true
      status.textContent = data.message
      return setWriting(false)
  }
})
worker.addEventListener('error', () => {
  status.textContent = 'The worker could not start.'
})
// Any folder with config.json, the weights and tokenizer.json.
worker.postMessage({ type: 'load', url: new URL('../../models/novels-10m-v2-int8/', location.href).href })

/** @param {boolean} value */
function setWriting(value) {
  isWriting = value
  write.disabled = isWriting
  stop.disabled = !isWriting
}

form.addEventListener('submit', (/** @type {Event} */ event) => {
  event.preventDefault()
  text.textContent = prompt.value
  setWriting(true)
  worker.postMessage({ type: 'generate', prompt: prompt.value, options: { maxTokens: 200, temperature: 0.8, topP: 0.95 } })
})
stop.addEventListener('click', () => worker.postMessage({ type: 'stop' }))
