import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { quotedTable, replaceSections } from '../../bench/lib/documents.mjs'

const page = `# Benchmarks

<!-- bench -->

<!-- bench: layer -->

## The layer

One.

<!-- bench: row -->

## One row

Two.

<!-- /bench -->

After.
`

describe('the page of benchmarks', () => {
  test('keeps the sections of suites that did not run, and the text around them', () => {
    const text = replaceSections(page, new Map([['row', '## One row\n\nThree.']]))
    expect(text).toBe(page.replace('Two.', 'Three.'))
  })

  test('puts the section of a new suite after the others', () => {
    const text = replaceSections(page, new Map([['start', '## Start\n\nFour.']]))
    expect(text).toBe(page.replace('Two.\n', 'Two.\n\n<!-- bench: start -->\n\n## Start\n\nFour.\n'))
  })

  test('breaks long paragraphs between words, but neither code nor tables', () => {
    const words = 'word '.repeat(22)
    const code = '`await createRuntime({ threads: 2 })`'
    const table = `| ${'wide '.repeat(40)} |\n| - |`
    const text = replaceSections(page, new Map([['row', `## One row\n\n${words}${code} end.\n\n${table}`]]))
    expect(text).toContain(`${words.trim()}\n${code} end.\n\n${table}\n`)
  })

  test('must have its marker comments', () => {
    expect(() => replaceSections('# Benchmarks\n', new Map())).toThrow('<!-- bench -->')
  })

  test('must have the figures that the README quotes', () => {
    expect(() => quotedTable(page)).toThrow('docs/benchmarks.md has no ms of ours in layer')
  })

  test('says below the quoted figures where and when each was measured', () => {
    const real = readFileSync('docs/benchmarks.md', 'utf8')
    const captions = (text: string) => quotedTable(text).split('\n\n')[1]!.trim().split('\n')
    const today = real.replace(/\d{4}-\d\d-\d\d\.$/gm, '2026-12-24.')
    expect(captions(today)).toEqual([expect.stringMatching(/^[^:]+; Node .*; 2026-12-24\.$/)])
    const start = today.indexOf('<!-- bench: layer -->')
    const layer = today.slice(start).replace('2026-12-24.', '2026-12-25.')
    expect(captions(today.slice(0, start) + layer)).toEqual([
      expect.stringMatching(/^Layer: .*; 2026-12-25\.$/),
      expect.stringMatching(/^Prompts, decoding, matrix product, cold start, download: .*; 2026-12-24\.$/),
    ])
  })
})
