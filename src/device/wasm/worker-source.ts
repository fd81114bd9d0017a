/**
 * Increased with every change to the messages or control words, so that a hosted copy of another version is rejected
 * rather than misinterpreted.
 */
export const WORKER_VERSION = 3

/** Words shared by the threads. */
export enum ControlWord {
  /** Number of tasks submitted so far; threads wait on it. */
  Generation,
  Quit,
  /** Two tasks, alternating by the parity of their number. */
  Works = 16,
  /** One barrier per worker group. */
  Barriers = 48,
}

/** Words of a task. */
export enum WorkWord {
  Program,
  Headers,
  HeaderCount,
  HeaderBytes,
  Partitions,
  WorkerGroups,
  /** Number of threads that have left it. */
  Left,
  Length = 16,
}

/** Words per barrier: a cache line. */
export const BARRIER_WORDS = 16

/**
 * The code of a pool thread, as text, so that starting a worker needs no second hosted file. The same text is the
 * package's `worker.js`, for pages that may not start workers from text. It runs in both kinds of worker (web and
 * node:worker_threads), as a classic script or a module.
 * It instantiates the kernels on the shared memory, reports that, and then waits for tasks in the control words
 * (`ControlWord`) without returning to its event loop. After waking, a sleeper reads the task counter again: the host
 * increments the counter before waking sleepers, and a thread that saw the increment while awake may have finished its
 * part and gone to sleep by then. The last thread to leave a task reports it: the caller may overwrite the program as
 * soon as it hears, and a thread slow to wake from the last barrier would still be in it.
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
