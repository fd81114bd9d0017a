/* docs/benchmarks.md, which the bench generates, and the table that README.md quotes from it. */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))
const START = '<!-- bench -->'
const END = '<!-- /bench -->'
/** Columns of a document's prose; tables are as wide as they are. */
const WIDTH = 118

/**
 * A cell of docs/benchmarks.md.
 * @param {string} suite whose section it is in
 * @param {string} below how the line begins that its table stands below; '' for the section's first table
 * @param {string} row the label of its row; of several, the first is that of one thread
 * @param {string} column the label of its column
 */
const cell = (suite, below, row, column) => ({ suite, below, row, column })

/**
 * Rows of the README's table: a label, a word for it below the table, and what is quoted in each column. The last two
 * are llama.cpp's, Q8_0.
 */
const QUOTED = [
  {
    what: 'layer, 4,096 tokens, ms',
    word: 'layer',
    cells: ['ours', 'onnxruntime-web', 'onnxruntime-node (native)'].map((name) => cell('layer', 'n = 4096', name, 'ms')),
  },
  ...[
    { phase: 'Prefill:', position: '2,048', what: 'prompt of 2,048 tokens, tokens/s' },
    { phase: 'Prefill:', position: '16,384', what: 'prompt of 16,384 tokens, tokens/s' },
    { phase: 'Decoding:', position: '2,048', what: 'decoding at token 2,048, tokens/s' },
    { phase: 'Decoding:', position: '16,384', what: 'decoding at token 16,384, tokens/s' },
  ].map(({ phase, position, what }) => ({
    what,
    word: phase === 'Prefill:' ? 'prompts' : 'decoding',
    cells: ['ours, int8', undefined, undefined, 'sliding window, Q8_0', 'RWKV-7, Q8_0'].map(
      (name) => name && cell('constant-memory', phase, position, name),
    ),
  })),
  {
    what: 'matrix product 1024³, GFLOP/s',
    word: 'matrix product',
    cells: ['ours', 'onnxruntime-web', 'onnxruntime-node (native)'].map((name) => cell('products', '', '1024 × 1024 × 1024', name)),
  },
  {
    what: 'layer, cold start to result, ms',
    word: 'cold start',
    cells: ['ours', 'onnxruntime-web', 'onnxruntime-node (native)'].map((name) => cell('start', '', `layer: ${name}`, 'first result, ms')),
  },
  {
    what: 'download without weights, gzip, kB',
    word: 'download',
    cells: ['routed-attention, its part for GPUs included', 'onnxruntime-web'].map((name) => cell('start', 'On the wire', name, 'kB')),
  },
]
const COLUMNS = ['one thread', 'ours', 'onnxruntime-web', 'onnxruntime-node', 'sliding window', 'RWKV-7']

/**
 * Puts sections into docs/benchmarks.md, between its bench comments, and quotes some of their figures in README.md.
 * @param {ReadonlyMap<string, string>} sections markdown by suite
 * @returns {string} what was done, in words
 */
export function writeSections(sections) {
  const page = `${root}docs/benchmarks.md`
  const readme = `${root}README.md`
  const text = replaceSections(readFileSync(page, 'utf8'), sections)
  writeFileSync(page, text)
  writeFileSync(readme, replaceBetween(readFileSync(readme, 'utf8'), quotedTable(text)))
  return `docs/benchmarks.md: wrote ${[...sections.keys()].join(', ')}; README.md: quoted its figures.`
}

/**
 * A document with sections in place of those between its bench comments. Each begins with a comment of its own, so that
 * a run of some suites replaces only theirs.
 * @param {string} text
 * @param {ReadonlyMap<string, string>} sections
 */
export function replaceSections(text, sections) {
  const all = new Map([...sectionsOf(text), ...[...sections].map(([name, section]) => /** @type {const} */ ([name, wrap(section)]))])
  return replaceBetween(text, [...all].map(([name, section]) => `<!-- bench: ${name} -->\n\n${section}\n`).join('\n'))
}

/**
 * The table of the README: figures of docs/benchmarks.md.
 * @param {string} text that document
 */
export function quotedTable(text) {
  const sections = sectionsOf(text)
  const rows = QUOTED.map(({ what, cells }) => [
    what,
    ...COLUMNS.slice(1).map((_, i) => {
      const quoted = cells[i]
      return quoted ? textOf(sections, quoted) : '-'
    }),
  ])
  const widths = COLUMNS.map((title, i) => Math.max(title.length, ...rows.map((row) => (row[i] ?? '').length)))
  const line = (/** @type {string[]} */ cells) =>
    `| ${cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join(' | ')} |`
  const rule = `| ${widths.map((width, i) => (i === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)).join(' | ')} |`
  return `${[line(COLUMNS), rule, ...rows.map(line), '', ...machinesOf(sections)].join('\n')}\n`
}

/**
 * Where and when the quoted figures were measured: processor and Node at the beginning of a section's caption, the day
 * at its end. Rows measured together share a line.
 * @param {ReadonlyMap<string, string>} sections
 */
function machinesOf(sections) {
  /** @type {Map<string, Set<string>>} */
  const words = new Map()
  for (const { word, cells } of QUOTED) {
    const [suite = ''] = cells.flatMap((quoted) => (quoted ? [quoted.suite] : []))
    const lines = (sections.get(suite) ?? '').split('\n\n').map((paragraph) => paragraph.replaceAll('\n', ' '))
    const [found] = lines.flatMap((line) => [...line.matchAll(/^([^;|]+ cores?; Node [^;]+);.* ([\d-]{10})\.$/g)])
    if (found === undefined) throw new Error(`docs/benchmarks.md does not say where ${suite} was measured`)
    const caption = `${found[1]}; ${found[2]}.`
    words.set(caption, (words.get(caption) ?? new Set()).add(word))
  }
  if (words.size === 1) return [...words.keys()]
  return [...words].map(([caption, rows]) => `${capital([...rows].join(', '))}: ${caption}`)
}

/** @param {string} text */
function capital(text) {
  return text.slice(0, 1).toUpperCase() + text.slice(1)
}

/** @param {string} text @param {string} content */
function replaceBetween(text, content) {
  const [start, end] = marks(text)
  return `${text.slice(0, start)}\n\n${content}\n${text.slice(end)}`
}

/** Where what stands between the bench comments begins and ends. @param {string} text */
function marks(text) {
  const start = text.indexOf(START)
  const end = text.indexOf(END, start)
  if (start < 0 || end < 0) throw new Error(`a document has no ${START} … ${END}`)
  return /** @type {const} */ ([start + START.length, end])
}

/** @param {string} text @returns {Map<string, string>} */
function sectionsOf(text) {
  const parts = text
    .slice(...marks(text))
    .split('<!-- bench: ')
    .slice(1)
  return new Map(
    parts.map((part) => {
      const end = part.indexOf(' -->')
      return [part.slice(0, end), part.slice(end + ' -->'.length).trim()]
    }),
  )
}

/** @param {ReadonlyMap<string, string>} sections @param {ReturnType<typeof cell>} quoted */
function textOf(sections, { suite, below, row, column }) {
  const lines = (sections.get(suite) ?? '').split('\n')
  const start = lines.findIndex((line) => line.startsWith(below))
  const head = lines.findIndex((line, i) => i >= start && line.startsWith('|'))
  const end = lines.findIndex((line, i) => i > head && !line.startsWith('|'))
  const table = start < 0 || head < 0 ? [] : lines.slice(head, end < 0 ? undefined : end)
  const [titles = [], , ...rows] = table.map((line) => line.split('|').map((text) => text.trim()))
  const found = rows.find(([, label]) => label === row)?.[titles.indexOf(column)]
  if (found === undefined) throw new Error(`docs/benchmarks.md has no ${column} of ${row} in ${suite}`)
  return found
}

/** Paragraphs in lines of at most so many characters; tables and headings as they are. @param {string} section */
function wrap(section) {
  return section
    .split('\n\n')
    .map((paragraph) => (/^[|#]/.test(paragraph) ? paragraph : wrapParagraph(paragraph)))
    .join('\n\n')
}

/** Code is not broken. @param {string} paragraph */
function wrapParagraph(paragraph) {
  const lines = ['']
  for (const [word] of paragraph.matchAll(/(?:`[^`]*`|\S)+/g)) {
    const line = lines.at(-1) ?? ''
    if (line !== '' && line.length + 1 + word.length > WIDTH) lines.push(word)
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`
  }
  return lines.join('\n')
}
