/*
 * Makes source maps small enough to ship, for stack traces, which need only file and line: all columns are 0, and only
 * changes of the line are recorded. That is a quarter of a bundler's size. Format: https://tc39.es/ecma426/
 */

const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'

/** @typedef {{ version: number, sources: string[], names: string[], mappings: string }} SourceMap */

/** Keeps the first position of each source line in each generated line. @param {SourceMap} map @returns {SourceMap} */
export function keepLines({ version, sources, mappings }) {
  /** Source position of the last segment. */
  let source = 0
  let line = 0
  /** Source position of the last segment kept. */
  let keptSource = 0
  let keptLine = 0
  const lines = mappings.split(';').map((segments) => {
    const kept = []
    let column = 0
    let keptColumn = 0
    for (const segment of segments.split(',').filter(Boolean)) {
      const [columns = 0, toSource, lines = 0] = decode(segment)
      column += columns
      // a segment of one number has no source position
      if (toSource === undefined) continue
      source += toSource
      line += lines
      if (kept.length > 0 && source === keptSource && line === keptLine) continue
      kept.push([column - keptColumn, source - keptSource, line - keptLine, 0].map(encode).join(''))
      keptColumn = column
      keptSource = source
      keptLine = line
    }
    return kept.join(',')
  })
  return { version, sources, names: [], mappings: lines.join(';') }
}

/** Adapts a map to lines inserted before the text. @param {SourceMap} map @param {number} lines @returns {SourceMap} */
export function afterLines(map, lines) {
  return { ...map, mappings: ';'.repeat(lines) + map.mappings }
}

/**
 * Adapts a map to text inserted into a line, or removed from it.
 * @param {SourceMap} map @param {number} line from 0 @param {number} column where it begins
 * @param {number} length negative if it was removed
 * @returns {SourceMap}
 */
export function afterInsertion(map, line, column, length) {
  const lines = map.mappings.split(';')
  let at = 0
  let moved = 0
  lines[line] = (lines[line] ?? '')
    .split(',')
    .filter(Boolean)
    .map((segment) => {
      const [columns = 0, ...rest] = decode(segment)
      at += columns
      const move = at > column ? length : 0
      const shifted = columns + move - moved
      moved = move
      return [shifted, ...rest].map(encode).join('')
    })
    .join(',')
  return { ...map, mappings: lines.join(';') }
}

/**
 * Decodes a segment's base-64 VLQ numbers: 5 bits per digit, least significant first, the sign in bit 0.
 * @param {string} segment
 */
export function decode(segment) {
  const numbers = []
  let value = 0
  let shift = 0
  for (const character of segment) {
    const digit = DIGITS.indexOf(character)
    value |= (digit & 31) << shift
    shift += 5
    if (digit & 32) continue
    numbers.push(value & 1 ? -(value >> 1) : value >> 1)
    value = shift = 0
  }
  return numbers
}

/** @param {number} number */
function encode(number) {
  let rest = number < 0 ? (-number << 1) | 1 : number << 1
  let digits = ''
  do {
    digits += DIGITS[rest > 31 ? (rest & 31) | 32 : rest]
    rest >>= 5
  } while (rest > 0)
  return digits
}
