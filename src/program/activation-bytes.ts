import { INT32_COLUMNS } from '../../assembly/ir/sizes.js'

/** Bytes from one row to the next, enough for any of `IntegerDot`: see `assembly/kernels/integer-rows.ts`. */
export function activationBytes(bits: number, depth: number): number {
  const planes = bits === 14 && depth > INT32_COLUMNS ? 2 : 1
  return planes * 2 * Math.ceil(depth / 8) * 8
}
