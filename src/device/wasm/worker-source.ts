/**
 * Raised with every change of what is posted or of the control words: a hosted copy of another version is refused rather than misunderstood.
 */
export const WORKER_VERSION = 3

/**
 * What a thread of the pool runs, as text: a worker started from text needs no second file to host. The same text is the file `worker.js` of the
 * package, for pages that may not start one so. Both kinds of worker (the web's, and node:worker_threads') take it, as a classic script or as a module.
 *
 * It instantiates the kernels on the shared memory, says so, and then waits for work in the control words (`ControlWord`) without returning to its
 * event loop. The last thread to leave a piece of work reports it: the caller may write over the program as soon as it is told, and one that is late to
 * wake from the last barrier would still be in it.
 */
export const workerSource = `
const isNode = typeof self === 'undefined' || typeof self.postMessage !== 'function'
const port = isNode ? process.getBuiltinModule('node:worker_threads').parentPort : self
const serve = ({ module, memory, control, thread, threads }) => {
  const { run } = new WebAssembly.Instance(module, { env: { memory, abort() { throw new Error('a kernel failed an assertion') } } }).exports
  const ints = new Int32Array(memory.buffer)
  const words = control / 4
  port.postMessage({ version: ${WORKER_VERSION} })
  let seen = 0
  for (;;) {
    Atomics.wait(ints, words, seen)
    if (Atomics.load(ints, words + 1)) break
    seen = (seen + 1) | 0
    const work = words + 16 + (seen & 1) * 16
    const [program, headers, count, stride, shares, lanes] = ints.subarray(work, work + 6)
    const team = threads / lanes
    const lane = Math.floor(thread / team)
    const member = thread % team
    const first = Math.floor((shares * member) / team)
    const end = Math.floor((shares * (member + 1)) / team)
    const barrier = control + (48 + lane * 16) * 4
    for (let i = lane; i < count; i += lanes) run(program, headers + i * stride, shares, first, end - first, barrier, team)
    if (Atomics.add(ints, work + 6, 1) === threads - 1) {
      Atomics.store(ints, work + 6, 0)
      port.postMessage(seen)
    }
  }
  if (isNode) port.close()
  else self.close()
}
if (isNode) port.once('message', serve)
else self.onmessage = (event) => serve(event.data)
`
