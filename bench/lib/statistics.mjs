// @ts-check
/* Works in Node and in a page. */

/** @param {readonly number[]} values not empty, or the median is NaN */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const [low = NaN, high = NaN] = [sorted[middle - (sorted.length % 2 === 1 ? 0 : 1)], sorted[middle]]
  return (low + high) / 2
}

/**
 * Median of the rounds' own ratios: what slowed a whole round down slowed both.
 * @param {readonly number[]} numerators
 * @param {readonly number[]} denominators
 */
export function medianRatio(numerators, denominators) {
  return median(numerators.map((value, round) => value / (denominators[round] ?? NaN)))
}

/** Three digits that count, without an exponent. @param {number} value */
export function significant(value, digits = 3) {
  if (!Number.isFinite(value)) return '-'
  if (value === 0) return '0'
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(value))))
  return Number(value.toFixed(decimals)).toLocaleString('en-US', { minimumFractionDigits: decimals, maximumFractionDigits: decimals })
}

/** @param {number} value */
export const percent = (value) => (Number.isFinite(value) ? `${(100 * value).toFixed(0)}%` : '-')
/** @param {number} value */
export const times = (value) => (Number.isFinite(value) ? `${significant(value, value < 10 ? 2 : 3)}x` : '-')
/** @param {number} value */
export const count = (value) => value.toLocaleString('en-US')
/** @param {number} bytes */
export const mebibytes = (bytes) => `${significant(bytes / 2 ** 20)} MiB`
