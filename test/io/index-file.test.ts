import { describe, expect, it } from 'vitest'
import { parseShardIndex } from '../../src/io/index-file.js'
import { expectThrows } from '../support/errors.js'

const encode = (json: unknown) => new TextEncoder().encode(typeof json === 'string' ? json : JSON.stringify(json))

describe('an index of shards', () => {
  it('gives the shard of each tensor, and each shard once', () => {
    const { shardOf, shards, totalSize } = parseShardIndex(
      encode({ metadata: { total_size: 12 }, weight_map: { a: 'two', b: 'one', c: 'two' } }),
    )
    expect([...shardOf]).toEqual([
      ['a', 'two'],
      ['b', 'one'],
      ['c', 'two'],
    ])
    expect(shards).toEqual(['two', 'one'])
    expect(totalSize).toBe(12)
  })

  it('need not give the total size, and an invalid one is ignored', () => {
    for (const metadata of [undefined, null, 5, {}, { total_size: -1 }, { total_size: '12' }, { total_size: 1e300 }]) {
      expect(parseShardIndex(encode({ metadata, weight_map: {} })).totalSize).toBeUndefined()
    }
  })

  it('may have tensors of any name', () => {
    expect([...parseShardIndex(encode('{"weight_map":{"__proto__":"a","constructor":"a"}}')).shardOf.keys()]).toEqual([
      '__proto__',
      'constructor',
    ])
  })

  it.each(['', '.', '..', '/etc/passwd', 'a/b', '../a', 'a\\b', 'C:a', 'a\0', 'a\nb', 'a'.repeat(256), '\ud800', 5, null, {}, ['a']])(
    'is rejected when it names the shard %j',
    (shard) => {
      expectThrows(() => parseShardIndex(encode({ weight_map: { a: shard } })), 'BAD_FILE', /tensor "a" in .* plain file name/)
    },
  )

  it.each([
    '',
    '{',
    '[]',
    'null',
    '5',
    '{}',
    '{"weight_map":[]}',
    '{"weight_map":"a"}',
    '{"__proto__":{"weight_map":{}}}',
    '['.repeat(1_000_000),
  ])('is rejected when it is %.20s', (text) => {
    expectThrows(() => parseShardIndex(encode(text)), 'BAD_FILE', /model\.safetensors\.index\.json/)
  })

  it('is rejected when it is not UTF-8', () => {
    expectThrows(() => parseShardIndex(new Uint8Array([0x22, 0xff, 0x22])), 'BAD_FILE', /UTF-8/)
  })
})
