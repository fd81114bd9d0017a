import { significant, times } from '../../../../bench/lib/statistics.mjs'
import { svg } from '../ui/dom.js'
import { type Figures, figuresOf, type Measurement, type Row } from './figures.js'

/** The page puts it so far outside its column, whose text it is then in line with. */
export const MARGIN = 14
const TITLE = 21
const BAR = 16
const ROW = 24
const NOTE = 15
/** Room for names before the bars, and for figures behind them. */
const NAMES = 118
const VALUES = 110

type Attributes = Readonly<Record<string, string | number>>

const FONT = { 'font-family': "system-ui, -apple-system, 'Segoe UI', sans-serif", 'font-size': 12 }
const SMALL = { 'font-size': 11 }
const BOLD = { 'font-size': 13, 'font-weight': 600 }

/** Colours in light and dark. */
const COLOURS = {
  paper: ['#fffefb', '#1c1f25'],
  ink: ['#1c1a17', '#e9e5dc'],
  muted: ['#625d55', '#a6a196'],
  ours: ['#1f6fd6', '#6db0ff'],
  theirs: ['#a84a05', '#ffa34d'],
} as const

type Colour = keyof typeof COLOURS

/** Light is in attributes, since clipboards remove styles; a copy that keeps them is dark where all is. */
const DARK = `@media (prefers-color-scheme: dark) { ${Object.entries(COLOURS)
  .map(([name, [, dark]]) => `.bench-plot .${name} { fill: ${dark} }`)
  .join(' ')} }`

const LEGEND = 'Tokens a second, more is better. Bars: medians of all rounds. Lines: from the slowest to the fastest.'

/**
 * Bars of tokens a second, one group for each measurement, each with a scale of its own.
 * @param source where the figures come from, in a line that is wrapped; none if it is empty
 * @param width in pixels
 */
export function plotOf(measurements: readonly Measurement[], source: string, width: number): SVGSVGElement {
  const parts: SVGElement[] = []
  let y = MARGIN
  const note = (text: string): void => {
    for (const line of wrapped(text, width)) {
      parts.push(textAt(MARGIN, y + 11, line, 'muted', SMALL))
      y += NOTE
    }
  }
  note(LEGEND)
  for (const measurement of measurements) {
    y += MARGIN / 2
    parts.push(textAt(MARGIN, y + 11, measurement.title, 'ink', BOLD))
    y += TITLE
    const figures = measurement.rows.map((row) => figuresOf(measurement, row))
    const most = Math.max(...figures.map((one) => one?.fastest ?? 0))
    for (const [index, row] of measurement.rows.entries()) {
      parts.push(...bar(row, figures[index], y, (width - 2 * MARGIN - NAMES - VALUES) / most))
      y += ROW
    }
  }
  if (source !== '') {
    y += MARGIN / 2
    note(source)
  }
  const height = y + MARGIN / 2
  return svg(
    'svg',
    { xmlns: 'http://www.w3.org/2000/svg', class: 'bench-plot', ...FONT, viewBox: `0 0 ${width} ${height}`, width, height, role: 'img' },
    svg('title', {}, document.createTextNode('Tokens a second of each program; the figures are in the tables.')),
    svg('style', {}, document.createTextNode(DARK)),
    rectangle('paper', { width, height }),
    ...parts,
  )
}

/** A name, a bar as long as the median, a line over all rounds, and the figure; without figures, what is the matter. */
function bar({ name, against, problem }: Row, figures: Figures | undefined, y: number, scale: number): SVGElement[] {
  const start = MARGIN + NAMES
  const middle = y + BAR / 2
  const label = textAt(MARGIN, middle + 4, name, 'ink')
  if (!figures) {
    const reason = problem === '' ? 'nothing yet' : problem.split(':')[0]!
    return [label, textAt(start, middle + 4, reason, 'muted', SMALL)]
  }
  const { median, slowest, fastest, ratio } = figures
  const value = `${significant(median)}${ratio > 0 ? `, ours ${times(ratio)}` : ''}`
  return [
    label,
    rectangle(against === undefined ? 'ours' : 'theirs', { x: start, y, width: Math.max(median * scale, 1), height: BAR, rx: 2 }),
    rectangle('ink', { x: start + slowest * scale, y: middle - 0.75, width: Math.max((fastest - slowest) * scale, 1), height: 1.5 }),
    textAt(start + fastest * scale + 6, middle + 4, value, 'ink'),
  ]
}

function rectangle(colour: Colour, attributes: Attributes): SVGElement {
  return svg('rect', { class: colour, fill: COLOURS[colour][0], ...attributes })
}

function textAt(x: number, y: number, text: string, colour: Colour, more: Attributes = {}): SVGElement {
  return svg('text', { x, y, class: colour, fill: COLOURS[colour][0], ...more }, document.createTextNode(text))
}

/** Lines that fit; a letter of the small text is about six pixels wide. */
function wrapped(text: string, width: number): string[] {
  const letters = Math.floor((width - 2 * MARGIN) / 6)
  const lines = ['']
  for (const word of text.split(' ')) {
    const last = lines.at(-1)
    if (last !== '' && last.length + 1 + word.length > letters) lines.push(word)
    else lines[lines.length - 1] = last === '' ? word : `${last} ${word}`
  }
  return lines
}
