/* What every store of conversations does: used by the tests in Node, and here in each runtime that has SQLite. */
import { check, equal } from './check.js'

/** @typedef {import('../../../src/server/stores/store.js').ConversationStore} ConversationStore */

const bytes = (/** @type {number[]} */ ...values) => Uint8Array.from(values)
/** @param {Record<string, Uint8Array>} entries */
const entriesOf = (entries) => new Map(Object.entries(entries))

/** @param {ConversationStore} store @param {string} id @param {string} prefix */
async function contents(store, id, prefix = '') {
  const stored = await store.read(id, prefix)
  return stored && { version: stored.version, entries: [...stored.entries].map(([name, value]) => [name, ...value]).sort() }
}

/**
 * @param {() => ConversationStore} open a new store, empty
 * @returns {[string, () => Promise<void>][]}
 */
export function storeStatements(open) {
  return [
    [
      'a store keeps entries, replaces them by name, and reads those with a prefix',
      async () => {
        const store = open()
        equal(await contents(store, 'a'), undefined, 'unknown')
        equal(await store.write('a', 1, entriesOf({ 'log/0': bytes(1, 2), snapshot: bytes(9) })), true, 'the first write')
        equal(await store.write('a', 2, entriesOf({ 'log/1': bytes(), snapshot: bytes(8, 255, 0) })), true, 'the second')
        equal(
          await contents(store, 'a'),
          {
            version: 2,
            entries: [['log/0', 1, 2], ['log/1'], ['snapshot', 8, 255, 0]],
          },
          'all',
        )
        equal(await contents(store, 'a', 'log/'), { version: 2, entries: [['log/0', 1, 2], ['log/1']] }, 'with a prefix')
        equal(await contents(store, 'a', 'none'), { version: 2, entries: [] }, 'with the prefix of none')
      },
    ],
    [
      'a store refuses a version that is not the next, and writes nothing then',
      async () => {
        const store = open()
        const written = entriesOf({ a: bytes(1) })
        for (const version of [0, 2, -1]) equal(await store.write('a', version, written), false, `version ${version} of nothing`)
        equal(await contents(store, 'a'), undefined, 'nothing')
        await store.write('a', 1, written)
        for (const version of [0, 1, 3])
          equal(await store.write('a', version, entriesOf({ a: bytes(2), b: bytes(3) })), false, `${version}`)
        equal(await contents(store, 'a'), { version: 1, entries: [['a', 1]] }, 'as it was')
        const both = await Promise.all([1, 2].map((value) => store.write('a', 2, entriesOf({ a: bytes(value) }))))
        equal(both.sort(), [false, true], 'of two writers, one wins')
      },
    ],
    [
      'a store forgets what is deleted, and that alone',
      async () => {
        const store = open()
        for (const id of ['a', 'b']) await store.write(id, 1, entriesOf({ 'log/0': bytes(id.charCodeAt(0)) }))
        equal(await store.delete('a'), true, 'one that was there')
        equal(await store.delete('a'), false, 'one that was not')
        equal(await contents(store, 'a'), undefined, 'the deleted one')
        equal(await contents(store, 'b'), { version: 1, entries: [['log/0', 98]] }, 'the other')
        equal(await store.write('a', 2, entriesOf({ x: bytes(1) })), false, 'a write to the deleted one')
        equal(await store.write('a', 1, entriesOf({ x: bytes(1) })), true, 'the id, anew')
        equal(await contents(store, 'a'), { version: 1, entries: [['x', 1]] }, 'without what it had')
      },
    ],
    [
      'a store takes names and ids for what they are, and copies bytes',
      async () => {
        const store = open()
        const name = '%_\'"; DROP TABLE entries; -- é 語'
        const buffer = bytes(0, 1, 2, 3, 4)
        await store.write(name, 1, new Map([[name, buffer.subarray(1, 4)]]))
        buffer.fill(7)
        equal(await contents(store, name, '%_'), { version: 1, entries: [[name, 1, 2, 3]] }, 'what was written')
        const read = await store.read(name, '')
        read?.entries.get(name)?.fill(6)
        equal(await contents(store, name), { version: 1, entries: [[name, 1, 2, 3]] }, 'after the copy was changed')
        const large = new Uint8Array(3e6).map((_, index) => index * 7)
        check(await store.write(name, 2, entriesOf({ large })), 'three megabytes')
        equal(
          (await store.read(name, 'large'))?.entries.get('large')?.every((value, index) => value === ((index * 7) & 255)),
          true,
          'large',
        )
      },
    ],
  ]
}
