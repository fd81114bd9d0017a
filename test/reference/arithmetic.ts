/** The arithmetic of the reference: float64, one number at a time, in the order the formulas are written. */

/** A dense row-major array; a Tensor is one. */
export interface Values {
  readonly data: ArrayLike<number>
  readonly shape: readonly number[]
}

export interface Float64Values extends Values {
  readonly data: Float64Array
}

export type Vector = Float64Array
/** Row by row: one Vector for each token, each output of a linear map, or each head. */
export type Matrix = Vector[]

/** Cuts row-major data into rows of `columns` values. */
export function toRows(data: ArrayLike<number>, columns: number): Matrix {
  const values = Float64Array.from(data)
  return Array.from({ length: values.length / columns }, (_, row) => values.subarray(row * columns, (row + 1) * columns))
}

export function fromRows(rows: Matrix, shape: readonly number[]): Float64Values {
  const data = new Float64Array(shape.reduce((size, length) => size * length, 1))
  let offset = 0
  for (const row of rows) {
    data.set(row, offset)
    offset += row.length
  }
  return { data, shape }
}

export function dot(a: Vector, b: Vector): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!
  return sum
}

export function norm(x: Vector): number {
  return Math.sqrt(dot(x, x))
}

export function add(a: Vector, b: Vector): Vector {
  return a.map((value, i) => value + b[i]!)
}

export function scale(x: Vector, factor: number): Vector {
  return x.map((value) => value * factor)
}

/** The largest integer that inputs of linear maps are rounded to; undefined where they stay as they are. */
let levels: number | undefined

/**
 * Runs something with the inputs of every linear map rounded to integers, as models of int8 weights have them: each
 * vector's largest magnitude becomes 63 (7 bits) or 8191 (14).
 */
export function withActivationBits<T>(bits: 7 | 14, run: () => T): T {
  levels = 2 ** (bits - 1) - 1
  try {
    return run()
  } finally {
    levels = undefined
  }
}

/** weight (out, in) times x. */
export function linear(weight: Matrix, x: Vector): Vector {
  const input = levels === undefined ? x : rounded(x, levels)
  return Float64Array.from(weight, (row) => dot(row, input))
}

function rounded(x: Vector, most: number): Vector {
  const largest = x.reduce((so, value) => Math.max(so, Math.abs(value)), 0)
  return largest === 0 ? x : x.map((value) => (Math.round((value * most) / largest) * largest) / most)
}

/** (x − mean) / √(variance + 1e-5) · weight + bias, the variance being the biased one. */
export function layerNorm(x: Vector, weight: Vector, bias: Vector): Vector {
  const mean = x.reduce((sum, value) => sum + value, 0) / x.length
  const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length
  return x.map((value, i) => ((value - mean) / Math.sqrt(variance + 1e-5)) * weight[i]! + bias[i]!)
}

/** x / max(‖x‖₂, 1e-12) · √d · gamma (SPEC section 1). */
export function rmsNorm(x: Vector, gamma: Vector): Vector {
  const factor = Math.sqrt(x.length) / Math.max(norm(x), 1e-12)
  return x.map((value, i) => value * factor * gamma[i]!)
}

/** One head's attention for one query: softmax(q·k / √e) v. */
export function attend(query: Vector, keys: Matrix, values: Matrix): Vector {
  const weights = softmaxWeights(query, keys)
  const out = new Float64Array(query.length)
  values.forEach((value, i) => {
    for (let j = 0; j < out.length; j++) out[j]! += weights[i]! * value[j]!
  })
  return out
}

/** How much of each key's value a query takes: softmax(q·k / √e). */
export function softmaxWeights(query: Vector, keys: Matrix): Vector {
  const logits = keys.map((key) => dot(query, key) / Math.sqrt(query.length))
  const largest = Math.max(...logits)
  const weights = Float64Array.from(logits, (logit) => Math.exp(logit - largest))
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  return weights.map((weight) => weight / total)
}

/** u·cos φ + rotate_half(u)·sin φ elementwise, rotate_half((a, b)) = (−b, a) on halves (SPEC section 5). */
export function rotate(u: Vector, angles: Vector): Vector {
  const half = u.length / 2
  return u.map((value, j) => value * Math.cos(angles[j]!) + (j < half ? -u[j + half]! : u[j - half]!) * Math.sin(angles[j]!))
}

/**
 * The angles of a position, t · 10000^(−2(j mod e/2)/e): local attention's (SPEC section 2) and the model's (section
 * 7).
 */
export function positionAngles(position: number, dimHead: number): Vector {
  return Float64Array.from({ length: dimHead }, (_, j) => position * 10000 ** ((-2 * (j % (dimHead / 2))) / dimHead))
}

/** x·Φ(x), exactly: by erf. */
export function gelu(x: number): number {
  return 0.5 * x * (1 + erf(x / Math.SQRT2))
}

/**
 * erf x = 2/√π · e^(−x²) · Σ 2ⁿ x^(2n+1) / (1·3·…·(2n+1)): every term has x's sign, so nothing cancels. At 6 it is 1 to
 * 2e-17.
 */
export function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x)
  let term = x
  let sum = 0
  for (let n = 0; Math.abs(term) > Math.abs(sum) * 1e-18; n++) {
    sum += term
    term *= (2 * x * x) / (2 * n + 3)
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum
}
