/**
 * Raised with every change of what is posted or of the control words: a hosted copy of another version is refused
 * rather than misunderstood.
 */
export const WORKER_VERSION = 3

/** Words that the threads share. */
export enum ControlWord {
  /** Works handed over so far, which threads wait on. */
  Generation,
  Quit,
  /** Two works, by the parity of their number. */
  Works = 16,
  /** A barrier for each worker group. */
  Barriers = 48,
}

/** Words of one work. */
export enum WorkWord {
  Program,
  Headers,
  HeaderCount,
  HeaderBytes,
  Partitions,
  WorkerGroups,
  /** Threads that have left it. */
  Left,
  Length = 16,
}

/** Words from one barrier to the next: a cache line. */
export const BARRIER_WORDS = 16

/**
 * What a thread of the pool runs, as text: a worker started from text needs no second file to host. The same text is
 * the file `worker.js` of the package, for pages that may not start one so. Both kinds of worker (the web's, and
 * node:worker_threads') take it, as a classic script or as a module.
 *
 * It instantiates the kernels on the shared memory, says so, and then waits for work in the control words
 * (`ControlWord`) without returning to its event loop. A sleeper looks at the number of works again when it is woken:
 * the host raises the number and then wakes who sleeps, and a thread that saw the rise awake may be through with its
 * part and asleep by then. The last thread to leave a piece of work reports it: the caller may write over the program
 * as soon as it is told, and one that is late to wake from the last barrier would still be in it.
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
    while (Atomics.load(ints, words + ${ControlWord.Generation}) === seen) Atomics.wait(ints, words + ${ControlWord.Generation}, seen)
    if (Atomics.load(ints, words + ${ControlWord.Quit})) break
    seen = (seen + 1) | 0
    const work = words + ${ControlWord.Works} + (seen & 1) * ${WorkWord.Length}
    const word = (index) => ints[work + index]
    const program = word(${WorkWord.Program})
    const headers = word(${WorkWord.Headers})
    const count = word(${WorkWord.HeaderCount})
    const stride = word(${WorkWord.HeaderBytes})
    const partitions = word(${WorkWord.Partitions})
    const groups = word(${WorkWord.WorkerGroups})
    const team = threads / groups
    const group = Math.floor(thread / team)
    const member = thread % team
    const first = Math.floor((partitions * member) / team)
    const end = Math.floor((partitions * (member + 1)) / team)
    const barrier = control + (${ControlWord.Barriers} + group * ${BARRIER_WORDS}) * 4
    for (let i = group; i < count; i += groups) run(program, headers + i * stride, partitions, first, end - first, barrier, team)
    if (Atomics.add(ints, work + ${WorkWord.Left}, 1) === threads - 1) {
      Atomics.store(ints, work + ${WorkWord.Left}, 0)
      port.postMessage(seen)
    }
  }
  if (isNode) port.close()
  else self.close()
}
if (isNode) port.once('message', serve)
else self.onmessage = (event) => serve(event.data)
`
