/** float16 to float32, exactly: subnormals, infinities and NaN included. */
export function float16ToFloat32(halves: Uint16Array): Float32Array {
  const values = new Float32Array(halves.length)
  const words = new Uint32Array(values.buffer)
  for (let i = 0; i < halves.length; i++) {
    const half = halves[i]!
    const sign = (half & 0x8000) << 16
    const magnitude = (half & 0x7fff) << 13
    if (half & 0x7c00 && (half & 0x7c00) !== 0x7c00) {
      words[i] = sign | (magnitude + (112 << 23)) // the exponents' biases are 127 and 15
    } else if (half & 0x7c00) {
      words[i] = sign | magnitude | 0x7f800000
    } else {
      values[i] = (half & 0x03ff) * (sign ? -(2 ** -24) : 2 ** -24)
    }
  }
  return values
}

/** bfloat16 to float32: the upper half of its bits. */
export function bfloat16ToFloat32(halves: Uint16Array): Float32Array {
  const words = new Uint32Array(halves.length)
  for (let i = 0; i < halves.length; i++) words[i] = halves[i]! << 16
  return new Float32Array(words.buffer)
}
