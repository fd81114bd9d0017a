export function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** Median of the rounds' own ratios: what slowed a whole round down slowed both. */
export function medianRatio(numerators, denominators) {
  return median(numerators.map((value, round) => value / denominators[round]))
}

/** Three digits that count, without an exponent. */
export function significant(value, digits = 3) {
  if (!Number.isFinite(value)) return '-'
  if (value === 0) return '0'
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(value))))
  return Number(value.toFixed(decimals)).toLocaleString('en-US', { minimumFractionDigits: decimals, maximumFractionDigits: decimals })
}

export const percent = (value) => (Number.isFinite(value) ? `${(100 * value).toFixed(0)}%` : '-')
export const times = (value) => (Number.isFinite(value) ? `${significant(value, value < 10 ? 2 : 3)}x` : '-')
export const count = (value) => value.toLocaleString('en-US')
export const mebibytes = (bytes) => `${significant(bytes / 2 ** 20)} MiB`
