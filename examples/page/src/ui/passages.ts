import type { Chapter } from '../protocol.js'

/** Shorter ones are lines of a table of contents, or headings of parts: there is no text under them. */
const SHORTEST = 200

/** The chapters long enough to be compared, and where each ends. */
export function longChapters(chapters: readonly Chapter[], length: number): (Chapter & { readonly end: number })[] {
  return chapters
    .map((chapter, index) => ({ ...chapter, end: chapters[index + 1]?.start ?? length }))
    .filter(({ start, end }) => end - start >= SHORTEST)
}

/**
 * The highest of the points that lie wholly inside a part: where it begins and its bits, and the mean of all of them.
 * @param step tokens of a point
 */
export function peakOf(points: Float32Array, step: number, start: number, end: number): { position: number; bits: number; mean: number } {
  const from = Math.ceil(start / step)
  const inside = points.subarray(from, Math.max(Math.floor(end / step), from))
  const bits = Math.max(...inside)
  const mean = inside.reduce((sum, value) => sum + value, 0) / inside.length
  return { position: (from + inside.indexOf(bits)) * step, bits, mean }
}
