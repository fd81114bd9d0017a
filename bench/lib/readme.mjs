import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { root } from './paths.mjs'

const START = '<!-- bench -->'
const END = '<!-- /bench -->'

/**
 * Puts sections between README.md's bench comments. Each begins with a comment of its own, so that a run of some suites replaces only theirs.
 * @param sections markdown by suite, in the order of the README
 * @returns what was done, in words
 */
export function writeSections(sections) {
  const file = `${root}/README.md`
  const text = existsSync(file) ? readFileSync(file, 'utf8') : ''
  const start = text.indexOf(START)
  const end = text.indexOf(END, start)
  if (start < 0 || end < 0) return `README.md has no ${START} … ${END}: nothing was written.`
  const kept = new Map()
  for (const part of text
    .slice(start + START.length, end)
    .split('<!-- bench: ')
    .slice(1)) {
    const [name] = part.split(' -->', 1)
    kept.set(name, part.slice(name.length + ' -->'.length).trim())
  }
  for (const [name, section] of sections) kept.set(name, section)
  const body = [...kept].map(([name, section]) => `<!-- bench: ${name} -->\n\n${section}\n`).join('\n')
  writeFileSync(file, `${text.slice(0, start)}${START}\n\n${body}\n${text.slice(end)}`)
  return `README.md: wrote ${[...sections.keys()].join(', ')}.`
}
