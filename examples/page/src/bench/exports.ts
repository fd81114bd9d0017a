import { significant, times } from '../../../../bench/lib/statistics.mjs'
import { table } from '../../../../bench/lib/tables.mjs'
import { type Environment, environmentInWords, figuresOf, type Measurement } from './figures.js'

/** Times as many pixels, for screens that have them. */
const SHARPNESS = 2

/** A plot as a file of its own. */
export function svgText(plot: SVGSVGElement): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(plot)}\n`
}

export async function pngOf(plot: SVGSVGElement): Promise<Blob> {
  const image = new Image()
  const url = URL.createObjectURL(new Blob([svgText(plot)], { type: 'image/svg+xml' }))
  try {
    image.src = url
    await image.decode()
    const canvas = document.createElement('canvas')
    canvas.width = image.width * SHARPNESS
    canvas.height = image.height * SHARPNESS
    canvas.getContext('2d')!.drawImage(image, 0, 0, canvas.width, canvas.height)
    return await new Promise((resolve, reject) =>
      canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('this browser writes no PNG'))), 'image/png'),
    )
  } finally {
    URL.revokeObjectURL(url)
  }
}

/**
 * Puts a plot on the clipboard: its text always, and as pictures where the clipboard takes them.
 * @returns the formats, in words
 */
export async function copyPlot(plot: SVGSVGElement): Promise<string> {
  const text = svgText(plot)
  const takes = (type: string): boolean => ClipboardItem.supports?.(type) ?? type === 'image/png'
  const svg = { 'text/plain': new Blob([text], { type: 'text/plain' }) }
  const all = {
    ...svg,
    ...(takes('image/svg+xml') && { 'image/svg+xml': new Blob([text], { type: 'image/svg+xml' }) }),
    // a promise: what is written must be named while the click still counts
    ...(takes('image/png') && { 'image/png': pngOf(plot) }),
  }
  if (Object.keys(all).length > 1) {
    const written = await navigator.clipboard.write([new ClipboardItem(all)]).then(
      () => true,
      () => false,
    )
    if (written) return 'image/png' in all ? 'SVG and PNG' : 'SVG'
  }
  await navigator.clipboard.writeText(text)
  return 'SVG'
}

export function download(content: Blob, name: string): void {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(content)
  link.download = name
  link.click()
  // the download has begun by then
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000)
}

/** All figures as tables. */
export function markdownOf(measurements: readonly Measurement[], environment: Environment): string {
  const parts = measurements.map((measurement) => {
    const rows = measurement.rows.map((row) => {
      const figures = figuresOf(measurement, row)
      const { median, slowest, fastest, milliseconds, ratio, rounds } = figures ?? {}
      return [
        row.name,
        ...[median, slowest, fastest, milliseconds].map((value) => (value === undefined ? undefined : significant(value))),
        ratio && ratio > 0 ? times(ratio) : undefined,
        rounds,
      ]
    })
    const problems = measurement.rows.filter(({ problem }) => problem !== '').map(({ name, problem }) => `${name}: ${problem}.`)
    const head = ['', 'tokens/s, median', 'slowest', 'fastest', `ms ${measurement.each}`, 'ours is', 'rounds']
    return [`${measurement.title}:`, table(head, rows), ...(measurement.agreement ? [measurement.agreement] : []), ...problems]
  })
  return `${[...parts.flat(), `${environmentInWords(environment)}.`].join('\n\n')}\n`
}

/** Every round's seconds, and what follows from them. */
export function jsonOf(measurements: readonly Measurement[], environment: Environment): string {
  const all = measurements.map(({ rows, ...measurement }) => ({
    ...measurement,
    rows: rows.map((row) => ({ ...row, figures: figuresOf({ ...measurement, rows }, row) })),
  }))
  return `${JSON.stringify({ environment, measurements: all }, null, 2)}\n`
}
