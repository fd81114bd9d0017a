import { expect, it } from 'vitest'
import { bfloat16ToFloat32, float16ToFloat32, isFiniteFloat16 } from '../../src/half.js'

const all = Uint16Array.from({ length: 2 ** 16 }, (_, bits) => bits)

it('every float16 becomes the float32 of its value', () => {
  const values = float16ToFloat32(all)
  for (const bits of all) {
    const sign = bits & 0x8000 ? -1 : 1
    const exponent = (bits >> 10) & 31
    const fraction = (bits & 1023) / 1024
    const expected =
      exponent === 31
        ? fraction === 0
          ? sign * Infinity
          : NaN
        : sign * (exponent === 0 ? fraction * 2 ** -14 : (1 + fraction) * 2 ** (exponent - 15))
    if (!Object.is(values[bits], expected)) expect.fail(`float16 ${bits.toString(16)}: ${values[bits]}, expected ${expected}`)
  }
})

it('every bfloat16 becomes the float32 whose upper half it is', () => {
  const view = new DataView(new ArrayBuffer(4))
  const values = bfloat16ToFloat32(all)
  for (const bits of all) {
    view.setUint16(0, bits)
    if (!Object.is(values[bits], view.getFloat32(0)))
      expect.fail(`bfloat16 ${bits.toString(16)}: ${values[bits]}, expected ${view.getFloat32(0)}`)
  }
})

it('infinities and NaN among float16 values are found, at any place and alignment', () => {
  for (const misalignment of [0, 1, 2, 3]) {
    for (const length of [0, 1, 2, 3, 8, 9]) {
      for (let place = -1; place < length; place++) {
        for (const bits of place < 0 ? [0] : [0x7c00, 0xfc00, 0x7e01, 0xffff, 0x7bff, 0xfbff, 0x8000]) {
          const bytes = new Uint8Array(misalignment + 2 * length).subarray(misalignment)
          const view = new DataView(bytes.buffer, bytes.byteOffset)
          for (let i = 0; i < length; i++) view.setUint16(2 * i, i === place ? bits : 0xfbff, true)
          const expected = place < 0 || (bits & 0x7c00) !== 0x7c00
          expect(isFiniteFloat16(bytes), `${bits.toString(16)} at ${place} of ${length}, ${misalignment}`).toBe(expected)
        }
      }
    }
  }
})
