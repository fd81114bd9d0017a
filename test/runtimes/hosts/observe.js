/* Added to a page of the documents: posts whether its text has become what `observe.js?CONFIG` expects. */
const { id, data, name, expected } = JSON.parse(decodeURIComponent(new URL(import.meta.url).search.slice(1)))
/** Milliseconds after which a page counts as stuck, on a machine that is busy or stalls, too. */
const PATIENCE = 300_000
const end = Date.now() + PATIENCE
let failure = ''
addEventListener('error', ({ message }) => (failure = message))
addEventListener('unhandledrejection', ({ reason }) => (failure = String(reason)))
const timer = setInterval(() => {
  const text = document.body.innerText.trim() // without scripts
  const right = new RegExp(expected, 's').test(text)
  if (!right && !failure && Date.now() < end) return
  clearInterval(timer)
  const error = right ? {} : { error: `the page says "${text}", expected ${expected}; ${failure}` }
  fetch(new URL(`results/${id}`, data), { method: 'POST', body: JSON.stringify({ results: [{ name, ...error }] }) })
}, 100)
