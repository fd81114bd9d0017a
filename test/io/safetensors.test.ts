import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { RoutedAttentionError } from '../../src/errors.js'
import { parseSafetensors, parseSafetensorsHeader, safetensorsHeaderLength, toFloat32 } from '../../src/io/safetensors.js'
import { expectThrows } from '../support/errors.js'
import { readSafetensors } from '../support/safetensors.js'
import { float32Entry, safetensorsOf, writeSafetensors } from '../support/write-safetensors.js'
import { runs } from '../support/seed.js'

const info = (change: Record<string, unknown> = {}) => ({ dtype: 'U8', shape: [1], data_offsets: [0, 1], ...change })
const file = (tensors: Record<string, unknown>, bodyLength: number) => safetensorsOf(JSON.stringify(tensors), new Uint8Array(bodyLength))
/** A file of one tensor of one byte, with this JSON in place of its object. */
const withTensor = (json: string, bodyLength = 1) => safetensorsOf(`{"a":${json}}`, new Uint8Array(bodyLength))

describe('a safetensors file is accepted', () => {
  const accepted: [string, Uint8Array, string[]][] = [
    ['without tensors', safetensorsOf('{}'), []],
    ['with white space after its header', safetensorsOf('{}\r \t\n'), []],
    ['with white space before its header, for alignment', safetensorsOf('\t\n{}\r '), []],
    ['with metadata', file({ __metadata__: { format: 'pt' }, a: info() }, 1), ['a']],
    ['with null for metadata', file({ __metadata__: null }, 0), []],
    ['with metadata under an escaped name', safetensorsOf('{"\\u005f_metadata__":{"a":"b"}}'), []],
    ['with an empty name', file({ '': info() }, 1), ['']],
    ['with a name from a prototype', safetensorsOf(`{"__proto__":${JSON.stringify(info())}}`, new Uint8Array(1)), ['__proto__']],
    ['with a tensor without axes', file({ a: info({ dtype: 'I32', shape: [], data_offsets: [0, 4] }) }, 4), ['a']],
    ['with an empty tensor', file({ a: info({ dtype: 'I32', shape: [2, 0], data_offsets: [0, 0] }) }, 0), ['a']],
    [
      'with tensors in another order than their bytes',
      file({ b: info({ data_offsets: [1, 2] }), empty: info({ shape: [0], data_offsets: [1, 1] }), a: info() }, 2),
      ['a', 'empty', 'b'],
    ],
    ['with 4-bit elements that fill their bytes', file({ a: info({ dtype: 'F4', shape: [1, 2] }) }, 1), ['a']],
    ['with 6-bit elements that fill their bytes', file({ a: info({ dtype: 'F6_E2M3', shape: [4], data_offsets: [0, 3] }) }, 3), ['a']],
    ['with fields that are unknown', withTensor('{"more":[{"x":-1.5e3},true,""],"dtype":"U8","shape":[1],"data_offsets":[0,1]}'), ['a']],
    [
      'with a name twice, whose last entry counts',
      safetensorsOf(
        '{"a":{"dtype":"I8","shape":[7],"data_offsets":[0,7]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        new Uint8Array(1),
      ),
      ['a'],
    ],
    ['with a size of 64 bits beside a 0', withTensor('{"dtype":"U8","shape":[18446744073709551615,0],"data_offsets":[0,0]}', 0), ['a']],
    [
      'with sizes whose product fills 64 bits beside a 0',
      withTensor('{"dtype":"U8","shape":[0,4294967296,4294967296],"data_offsets":[0,0]}', 0),
      ['a'],
    ],
    [
      'with 126 levels of nesting in an unknown field',
      withTensor(`{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":${'['.repeat(125)}${']'.repeat(125)}}`),
      ['a'],
    ],
  ]
  it.each(accepted)('%s', (_, bytes, names) => {
    expect([...parseSafetensors(bytes).keys()]).toEqual(names)
  })

  it('in any dtype of the format', () => {
    const dtypes = {
      BOOL: 8,
      U8: 8,
      I8: 8,
      F8_E5M2: 8,
      F8_E4M3: 8,
      F8_E8M0: 8,
      F8_E4M3FNUZ: 8,
      F8_E5M2FNUZ: 8,
      I16: 16,
      U16: 16,
      F16: 16,
      BF16: 16,
      I32: 32,
      U32: 32,
      F32: 32,
      C64: 64,
      F64: 64,
      I64: 64,
      U64: 64,
      F4: 4,
      F6_E2M3: 6,
      F6_E3M2: 6,
    }
    for (const [dtype, bits] of Object.entries(dtypes)) {
      const bytes = file({ a: { dtype, shape: [3, 4], data_offsets: [0, (12 * bits) / 8] } }, (12 * bits) / 8)
      expect(parseSafetensors(bytes).get('a')).toMatchObject({ dtype, shape: [3, 4], bytes: { length: (12 * bits) / 8 } })
    }
  })
})

describe('a safetensors file is rejected', () => {
  const refused: [string, Uint8Array][] = [
    ['when it is empty', new Uint8Array(0)],
    ['when it has no room for the length', new Uint8Array(7)],
    ['when its header is longer than it', new Uint8Array([60, 0, 0, 0, 0, 0, 0, 0])],
    ['when its header is longer than 100 MB', new Uint8Array([60, 0, 0, 0, 0, 255, 255, 255, 123, 125])],
    ['when its header is empty', safetensorsOf('')],
    ['when its header is not UTF-8', safetensorsOf(new Uint8Array([0xff]))],
    ['when its header is not JSON', safetensorsOf('{')],
    ['when its header is an array', safetensorsOf('[]')],
    ['when its header begins with a byte order mark', safetensorsOf('\ufeff{}')],
    ['when something follows its header', safetensorsOf('{} {}')],
    ['when bytes are left over', file({ a: info() }, 2)],
    ['when bytes are left over and there is no tensor', file({}, 1)],
    ['when bytes are missing', file({ a: info({ shape: [2], data_offsets: [0, 2] }) }, 1)],
    ['when tensors share bytes', file({ a: info(), b: info() }, 1)],
    ['when there is a hole before a tensor', file({ a: info({ data_offsets: [1, 2] }) }, 2)],
    ['when a tensor ends before it begins', file({ a: info(), b: info({ shape: [0], data_offsets: [1, 0] }) }, 1)],
    ['when shape and offsets disagree', file({ a: info({ dtype: 'I32', shape: [2, 2], data_offsets: [0, 4] }) }, 4)],
    ['when a dtype is unknown', file({ a: info({ dtype: 'F8_E4M3FN' }) }, 1)],
    [
      'when the earlier of two entries is no tensor',
      safetensorsOf(`{"a":{"dtype":"?","shape":[1],"data_offsets":[0,1]},"a":${JSON.stringify(info())}}`, new Uint8Array(1)),
    ],
    ['when a tensor is null', withTensor('null')],
    ['when a shape is missing', withTensor('{"dtype":"U8","data_offsets":[0,1]}')],
    ['when a field is there twice', withTensor('{"dtype":"","dtype":"U8","shape":[1],"data_offsets":[0,1]}')],
    ['when there are three offsets', withTensor('{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}')],
    ['when a size is negative', withTensor('{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}')],
    ['when a size is written as a fraction', withTensor('{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}')],
    ['when a size is written with an exponent', withTensor('{"dtype":"U8","shape":[1e0],"data_offsets":[0,1]}')],
    ['when an offset is minus zero', withTensor('{"dtype":"U8","shape":[1],"data_offsets":[-0,1]}')],
    ['when a size has more than 64 bits', withTensor('{"dtype":"U8","shape":[18446744073709551616,0],"data_offsets":[0,0]}', 0)],
    [
      'when a product of sizes has more than 64 bits',
      withTensor('{"dtype":"I32","shape":[2,18446744073709551614],"data_offsets":[0,16]}', 16),
    ],
    ['when it has more than 64 bits before a 0', withTensor('{"dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}', 0)],
    [
      'when the bits of a tensor have more than 64 bits',
      withTensor('{"dtype":"I32","shape":[2,9223372036854775807],"data_offsets":[0,16]}', 16),
    ],
    ['when 4-bit elements leave half a byte', file({ a: info({ dtype: 'F4', shape: [3] }) }, 1)],
    ['when metadata are there twice', safetensorsOf('{"__metadata__":{},"__metadata__":{}}')],
    ['when metadata hold a number', safetensorsOf('{"__metadata__":{"a":1}}')],
    ['when metadata are an array', safetensorsOf('{"__metadata__":[]}')],
    [
      'when a name has half a surrogate pair',
      safetensorsOf('{"\\ud800":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', new Uint8Array(1)),
    ],
    ['when a name has a raw control character', safetensorsOf('{"\n":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', new Uint8Array(1))],
    ['when an unknown field holds no JSON', withTensor('{"x":01,"dtype":"U8","shape":[1],"data_offsets":[0,1]}')],
    ['when an unknown field holds a number beyond float64', withTensor('{"x":1e999,"dtype":"U8","shape":[1],"data_offsets":[0,1]}')],
    [
      'when an unknown field is nested too deeply',
      withTensor(`{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":${'['.repeat(126)}${']'.repeat(126)}}`),
    ],
    ['when it is brackets all the way', safetensorsOf('['.repeat(1_000_000))],
    ['when a tensor is brackets all the way', safetensorsOf(`{"a":{"x":${'['.repeat(1_000_000)}`)],
  ]
  it.each(refused)('%s', (_, bytes) => {
    expectThrows(() => parseSafetensors(bytes), 'BAD_FILE', /^the (header of the )?safetensors file/)
  })

  it('with a message that names the file, the tensor and the bytes', () => {
    const bytes = file({ one: info(), two: info({ data_offsets: [2, 3] }) }, 3)
    expectThrows(
      () => parseSafetensors(bytes, 'x.safetensors'),
      'BAD_FILE',
      /x\.safetensors .*tensor "two" lies at bytes 2 to 3, where one beginning at 1 was expected/,
    )
  })

  it('when it is not bytes', () => {
    for (const bad of [null, undefined, 'x', new ArrayBuffer(8), [1, 2]]) expectThrows(() => parseSafetensors(bad as never), 'BAD_ARGUMENT')
  })

  it('as BAD_FILE wherever it is truncated or altered', () => {
    const whole = writeSafetensors(
      { first: float32Entry([1, 2, 3]), 'second.weight': float32Entry([4, 5, 6, 7], [2, 2]) },
      { format: 'pt' },
    )
    for (let length = 0; length < whole.length; length++) expectThrows(() => parseSafetensors(whole.subarray(0, length)), 'BAD_FILE')
    const alteration = fc.record({ at: fc.nat(whole.length - 29), to: fc.integer({ min: 0, max: 255 }) })
    fc.assert(
      fc.property(alteration, ({ at, to }) => {
        const altered = new Uint8Array(whole)
        altered[at] = to
        try {
          parseSafetensors(altered)
        } catch (error) {
          expect((error as RoutedAttentionError).code).toBe('BAD_FILE')
        }
      }),
      runs(2000),
    )
  })
})

describe('a header', () => {
  const whole = writeSafetensors({ a: float32Entry([1, 2, 3]) }, { format: 'pt' })
  const bodyOffset = whole.length - 12

  it('is read without the bytes after it', () => {
    const header = parseSafetensorsHeader(whole.subarray(0, bodyOffset), whole.length)
    expect(header).toEqual({
      bodyOffset,
      fileLength: whole.length,
      tensors: new Map([['a', { dtype: 'F32', shape: [3], begin: 0, end: 12 }]]),
      metadata: new Map([['format', 'pt']]),
    })
    expect(parseSafetensorsHeader(whole.subarray(0, bodyOffset), undefined)).toEqual(header)
  })

  it('is rejected when the file is of another length, or is cut off itself', () => {
    expectThrows(() => parseSafetensorsHeader(whole.subarray(0, bodyOffset), whole.length + 1), 'BAD_FILE')
    expectThrows(() => parseSafetensorsHeader(whole.subarray(0, bodyOffset - 1), whole.length), 'BAD_FILE')
    expectThrows(() => safetensorsHeaderLength(whole.subarray(0, 8), 20, 'it'), 'BAD_FILE')
    expect(safetensorsHeaderLength(whole.subarray(0, 8), 3 * 2 ** 30, 'it')).toBe(bodyOffset - 8)
  })

  it('with 100,000 tensors of which the last is invalid is rejected, naming that one', () => {
    const tensors: Record<string, unknown> = {}
    for (let i = 0; i < 100_000; i++) tensors[`tensor ${i}`] = info({ shape: [1, 1], data_offsets: [i, i + 1] })
    tensors['the last'] = info({ data_offsets: [5, 6] })
    expectThrows(() => parseSafetensors(file(tensors, 100_000)), 'BAD_FILE', /where one beginning at 6 was expected/)
  })
})

describe('values', () => {
  it("of novels-10m's golden file agree with an independent reader", () => {
    const bytes = readFileSync('models/novels-10m/golden.safetensors')
    const expected = readSafetensors(bytes)
    const found = parseSafetensors(bytes)
    expect([...found.keys()].sort()).toEqual([...expected.keys()].sort())
    for (const [name, tensor] of found) {
      const { dtype, shape, data } = expected.get(name)!
      expect(tensor).toMatchObject({ dtype, shape })
      expect(Buffer.compare(tensor.bytes, new Uint8Array(data.buffer))).toBe(0)
      if (dtype === 'F32') expect(Buffer.compare(new Uint8Array(toFloat32(tensor, name).buffer), new Uint8Array(data.buffer))).toBe(0)
    }
  })

  it('are widened from unaligned bytes, of other buffers and of shared memory too', () => {
    const whole = writeSafetensors({ odd: { dtype: 'U8', shape: [1], bytes: new Uint8Array(1) }, a: float32Entry([1.5, -2]) })
    for (const shift of [0, 1, 2, 3]) {
      const elsewhere = new Uint8Array(new SharedArrayBuffer(whole.length + shift), shift)
      elsewhere.set(whole)
      for (const bytes of [elsewhere, Buffer.from(elsewhere)])
        expect([...toFloat32(parseSafetensors(bytes).get('a')!, 'a')]).toEqual([1.5, -2])
    }
  })

  it('of float64 are rounded to the nearest float32', () => {
    const bytes = new Uint8Array(Float64Array.from([0.1, 1e300, -1e-300]).buffer)
    expect([...toFloat32({ dtype: 'F64', shape: [3], bytes }, 'a')]).toEqual([Math.fround(0.1), Infinity, -0])
  })

  it('are copies: the file stays as it is', () => {
    const whole = writeSafetensors({ a: float32Entry([1]) })
    toFloat32(parseSafetensors(whole).get('a')!, 'a').fill(9)
    expect(whole).toEqual(writeSafetensors({ a: float32Entry([1]) }))
  })

  it('of any other dtype are rejected as a parameter', () => {
    expectThrows(
      () => toFloat32({ dtype: 'I64', shape: [1], bytes: new Uint8Array(8) }, 'a.weight'),
      'BAD_WEIGHTS',
      /a\.weight must be F32, F16, BF16 or F64, got I64/,
    )
  })
})
