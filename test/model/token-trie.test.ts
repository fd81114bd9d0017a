import fc from 'fast-check'
import { expect, test } from 'vitest'
import { commonLength, type TrieNode, TokenTrie } from '../../src/model/prefix-cache/token-trie.js'
import { runs } from '../support/seed.js'

/** Few different ids, so that keys share prefixes, and are prefixes of each other. */
const keys = fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 7 })
const steps = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('set' as const), key: keys }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('delete' as const), key: keys }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('find' as const), key: keys }) },
  ),
  { maxLength: 60 },
)

test('finds the same as a list of all keys, and stores each shared prefix once', () => {
  fc.assert(
    fc.property(steps, (all) => {
      const trie = new TokenTrie<number>()
      const list = new Map<string, { key: number[]; value: number; node: TrieNode<number> }>()
      all.forEach(({ kind, key }, value) => {
        const name = key.join()
        const known = list.get(name)
        if (kind === 'set') {
          const node = trie.set(Int32Array.from(key), value)
          if (known) expect(node).toBe(known.node)
          list.set(name, { key, value, node })
        } else if (kind === 'delete') {
          if (!known) return
          trie.delete(known.node)
          list.delete(name)
        } else {
          const { node, length, common } = trie.find(Int32Array.from(key))
          const prefixes = [...list.values()].filter((entry) => entry.key.every((id, index) => id === key[index]))
          const longest = prefixes.sort((a, b) => b.key.length - a.key.length)[0]
          expect({ node, length, value: node?.value }).toEqual({
            node: longest?.node,
            length: longest?.key.length ?? 0,
            value: longest?.value,
          })
          const lengths = [...list.values()].map((entry) => commonLength(Int32Array.from(entry.key), Int32Array.from(key)))
          expect(common).toBe(Math.max(0, ...lengths))
        }
        const prefixes = new Set([...list.values()].flatMap((entry) => entry.key.map((_, index) => entry.key.slice(0, index + 1).join())))
        expect(trie.idCount).toBe(prefixes.size)
        for (const entry of list.values()) expect(entry.node.value).toBe(entry.value)
      })
    }),
    runs(500),
  )
})

test('handles ten thousand ids that differ in the last one', () => {
  const trie = new TokenTrie<string>()
  const ids = Int32Array.from({ length: 10_000 }, (_, index) => index % 7)
  const other = Int32Array.from(ids).fill(8, 9_999)
  trie.set(ids, 'these')
  trie.set(other, 'others')
  expect(trie.idCount).toBe(10_001)
  expect(trie.find(other)).toMatchObject({ length: 10_000, node: { value: 'others' } })
  expect(trie.find(Int32Array.from(ids).fill(9, 9_999))).toEqual({ node: undefined, length: 0, common: 9_999 })
})
