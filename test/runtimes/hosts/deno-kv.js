/* In Deno: `kv-store.js CONFIG`: the store of examples/deno-deploy, which a crash at any step leaves whole. */
import { check, equal, run } from '../suite/check.js'
import { storeStatements } from '../suite/stores.js'
import { report } from './report.js'

const host = JSON.parse(Deno.args[0])
const { KvStore } = await import(new URL('kv-store.ts', host.example).href)

/** Bytes that no two pieces of have in common. */
const large = (seed) => new Uint8Array(1_300_000).map((_, index) => (index ^ (index >> 8) ^ seed) & 255)
const before = new Map([['log/0', Uint8Array.of(1)], ['snapshot', large(1)]]) // prettier-ignore
/** Of either: of the small entry, the large one, and the manifest. An entry without bytes has none. */
const PIECES = 1 + 22 + 1
const after = new Map([['log/0', Uint8Array.of(2, 2)], ['log/1', new Uint8Array(0)], ['snapshot', large(2)]]) // prettier-ignore

/** A KV whose process dies before or after a step that changes something, or waits there. */
class Steps {
  steps = 0
  isDead = false
  /** @param {Deno.Kv} kv @param {(step: number, when: 'before' | 'after') => Promise<boolean>} dies */
  constructor(kv, dies) {
    this.kv = kv
    this.dies = dies
  }
  async step(change) {
    this.die()
    const step = ++this.steps
    this.isDead = await this.dies(step, 'before')
    this.die()
    const result = await change()
    this.isDead = await this.dies(step, 'after')
    this.die()
    return result
  }
  die() {
    if (this.isDead) throw new Error('the process has died')
  }
  get = (key) => this.kv.get(key)
  getMany = (keys) => this.kv.getMany(keys)
  list = (selector) => this.kv.list(selector)
  set = (key, value) => this.step(() => this.kv.set(key, value))
  delete = (key) => this.step(() => this.kv.delete(key))
  atomic() {
    const atomic = this.kv.atomic()
    const commit = atomic.commit.bind(atomic)
    atomic.commit = () => this.step(commit)
    return atomic
  }
}

async function withKv(work) {
  const kv = await Deno.openKv(':memory:')
  try {
    return await work(kv, new KvStore(kv, { abandonedAfter: 0 }))
  } finally {
    kv.close()
  }
}

async function keysOf(kv) {
  const counts = { conversations: 0, pieces: 0, garbage: 0 }
  for await (const { key } of kv.list({ prefix: [] })) counts[key[0]]++
  return counts
}

const isSame = (/** @type {Map<string, Uint8Array>} */ a, /** @type {Map<string, Uint8Array>} */ b) =>
  a.size === b.size &&
  [...a].every(([name, bytes]) => bytes.length === b.get(name)?.length && bytes.every((byte, at) => byte === b.get(name)[at]))

/** What the store has: 'before', 'after', 'none', or something else. */
async function stateOf(store) {
  const stored = await store.read('a', '')
  if (!stored) return 'none'
  return isSame(stored.entries, before) ? 'before' : isSame(stored.entries, after) ? 'after' : 'something else'
}

/** Dies at each step of some work in turn, and checks what is left. @returns how many steps it has */
async function dieEverywhere(work, verify) {
  for (let fatal = 1; ; fatal++) {
    let reached = false
    for (const when of ['before', 'after'])
      await withKv(async (kv, store) => {
        check(await store.write('a', 1, before), 'the first write')
        const dying = new Steps(kv, async (step, at) => step === fatal && at === when && (reached = true))
        const outcome = await work(new KvStore(dying)).then(
          (done) => `told ${done}`,
          () => 'failed',
        )
        await verify(kv, store, outcome, `${when} step ${fatal}`)
      })
    if (!reached) return fatal - 1
  }
}

const statements = [
  [
    'a write that dies at any step leaves all of the old or all of the new, and nothing besides once it is collected',
    async () => {
      const states = new Set()
      const steps = await dieEverywhere(
        (store) => store.write('a', 2, after),
        async (kv, store, outcome, where) => {
          const state = await stateOf(store)
          states.add(state)
          if (outcome === 'told true') equal(state, 'after', where)
          check(state === 'before' || state === 'after', `${where}: the store has ${state}`)
          await store.collect()
          equal(await stateOf(store), state, `${where}, collected`)
          equal(await keysOf(kv), { conversations: 1, pieces: PIECES, garbage: 0 }, where)
          check(await store.write('a', state === 'before' ? 2 : 3, after), `${where}: the next write`)
          equal(await stateOf(store), 'after', `${where}, written again`)
          equal(await keysOf(kv), { conversations: 1, pieces: PIECES, garbage: 0 }, `${where}, written again`)
        },
      )
      check(steps >= 8, `it has ${steps} steps`)
      equal([...states], ['before', 'after'], 'the states')
    },
  ],
  [
    'a deletion that dies at any step has deleted everything, or nothing',
    async () => {
      const steps = await dieEverywhere(
        (store) => store.delete('a'),
        async (kv, store, outcome, where) => {
          const state = await stateOf(store)
          if (outcome === 'told true') equal(state, 'none', where)
          check(state === 'before' || state === 'none', `${where}: the store has ${state}`)
          await store.collect()
          equal(await keysOf(kv), state === 'none' ? { conversations: 0, pieces: 0, garbage: 0 } : { conversations: 1, pieces: PIECES, garbage: 0 }, where) // prettier-ignore
        },
      )
      check(steps >= 3, `it has ${steps} steps`)
    },
  ],
  [
    'a write that was taken for dead at any step, and lives, does no harm',
    async () => {
      for (let slow = 1; ; slow++) {
        let reached = false
        await withKv(async (kv, store) => {
          await store.write('a', 1, before)
          const waiting = new Steps(kv, async (step, at) => {
            if (step === slow && at === 'before') {
              reached = true
              await store.collect()
            }
            return false
          })
          const isWritten = await new KvStore(waiting).write('a', 2, after)
          equal(await stateOf(store), isWritten ? 'after' : 'before', `collected before step ${slow}`)
          await store.collect()
          equal(await stateOf(store), isWritten ? 'after' : 'before', `collected again after step ${slow}`)
          equal(await keysOf(kv), { conversations: 1, pieces: PIECES, garbage: 0 }, `after step ${slow}`)
        })
        if (!reached) return
      }
    },
  ],
  [
    'of two that write at the same time one wins, and whoever reads meanwhile finds either whole',
    () =>
      withKv(async (kv, store) => {
        const entriesOf = (/** @type {number} */ version) => new Map([['log/0', Uint8Array.of(version)], ['snapshot', large(version)]]) // prettier-ignore
        await store.write('a', 1, entriesOf(1))
        let isOver = false
        const read = async () => {
          for (let reads = 0; !isOver; reads++) {
            const { version, entries } = await store.read('a', '')
            check(isSame(entries, entriesOf(version)), `read ${reads} found a mixture`)
          }
        }
        const write = async () => {
          for (let version = 2; version <= 5; version++) {
            const won = await Promise.all([1, 2].map(() => new KvStore(kv).write('a', version, entriesOf(version))))
            equal(won.sort(), [false, true], `version ${version}`)
          }
        }
        await Promise.all([read(), write().finally(() => (isOver = true))])
        equal(await keysOf(kv), { conversations: 1, pieces: PIECES, garbage: 0 }, 'what is left')
      }),
  ],
  [
    'conversations that nobody wrote to for long are forgotten',
    () =>
      withKv(async (kv, store) => {
        await store.write('a', 1, before)
        await store.expire(1)
        equal(await stateOf(store), 'before', 'after a moment')
        const { value } = await kv.get(['conversations', 'a'])
        await kv.set(['conversations', 'a'], { ...value, written: Date.now() - 2 * 86_400_000 })
        await store.write('b', 1, after)
        await store.expire(1)
        equal(await stateOf(store), 'none', 'after two days')
        equal(await keysOf(kv), { conversations: 1, pieces: PIECES, garbage: 0 }, 'of the other')
      }),
  ],
]

const kvs = await Promise.all(storeStatements(() => undefined).map(() => Deno.openKv(':memory:')))
const opened = [...kvs]
const stores = storeStatements(() => new KvStore(opened.pop()))
await report(host, () => run([...stores, ...statements]))
for (const kv of kvs) kv.close()
