/*
 * A page's script in a worker: `worker.mjs?ours-layer` answers calls of the functions that pages/ours-layer.mjs has,
 * one at a time. It posts { ready: true } when it can.
 */
let queue = import(`./${location.search.slice(1)}.mjs`)
const functions = queue

queue = queue.then(
  () => postMessage({ ready: true }),
  (error) => postMessage({ error: String(error?.message ?? error) }),
)

addEventListener('message', ({ data: { method, args } }) => {
  queue = queue.then(async () => {
    try {
      postMessage({ result: (await (await functions)[method](...args)) ?? null })
    } catch (error) {
      postMessage({ error: String(error?.message ?? error) })
    }
  })
})
