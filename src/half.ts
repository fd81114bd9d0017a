/** Converts float16 to float32 exactly, including subnormals, infinities and NaN. */
export function float16ToFloat32(halves: Uint16Array): Float32Array {
  const values = new Float32Array(halves.length)
  const words = new Uint32Array(values.buffer)
  for (let i = 0; i < halves.length; i++) {
    const half = halves[i]!
    const sign = (half & 0x8000) << 16
    const magnitude = (half & 0x7fff) << 13
    if (half & 0x7c00 && (half & 0x7c00) !== 0x7c00) {
      words[i] = sign | (magnitude + (112 << 23)) // the exponent biases are 127 and 15
    } else if (half & 0x7c00) {
      words[i] = sign | magnitude | 0x7f800000
    } else {
      values[i] = (half & 0x03ff) * (sign ? -(2 ** -24) : 2 ** -24)
    }
  }
  return values
}

/** Converts bfloat16 to float32: its bits are the upper half. */
export function bfloat16ToFloat32(halves: Uint16Array): Float32Array {
  const words = new Uint32Array(halves.length)
  for (let i = 0; i < halves.length; i++) words[i] = halves[i]! << 16
  return new Float32Array(words.buffer)
}

/** Whether float16 values, at any alignment, contain neither infinity nor NaN. */
export function isFiniteFloat16(bytes: Uint8Array): boolean {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice()
  const pairs = new Int32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength >> 2)
  // adding one to the exponent carries into the sign bit only if it is all ones
  let carries = 0
  for (let i = 0; i < pairs.length; i++) carries |= (pairs[i]! & 0x7c007c00) + 0x04000400
  if (bytes.length % 4 !== 0) carries |= ((bytes[bytes.length - 1]! << 8) & 0x7c00) + 0x0400
  return (carries & 0x80008000) === 0
}
