/** 16-bit floats by their values, on their own so that what the package makes of them can be held against it. */
const float = new Float32Array(1)
const word = new Int32Array(float.buffer)

export function bitsOf(value: number): number {
  float[0] = value
  return word[0]!
}

export function floatOf(bits: number): number {
  word[0] = bits
  return float[0]!
}

/** The value of a float16's bits. */
export function fromHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 31
  const fraction = (bits & 1023) / 1024
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN
  return sign * (exponent === 0 ? fraction * 2 ** -14 : (1 + fraction) * 2 ** (exponent - 15))
}

/** The bits of the float16 nearest to a value; of one exactly between two, the one further from zero. */
export function toHalf(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0
  const magnitude = Math.abs(value)
  if (Number.isNaN(value)) return 0x7e00
  if (magnitude >= 65520) return sign | 0x7c00
  const exponent = magnitude === 0 ? -14 : Math.max(-14, Math.floor(Math.log2(magnitude)))
  // subnormals are counted from zero, normal values from 1024 steps; what rounds up to the next power of two carries
  // into the exponent by itself
  const steps = Math.round((magnitude / 2 ** exponent) * 1024)
  return sign | (((exponent + 14) << 10) + steps)
}
