import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { afterInsertion, afterLines, decode, keepLines } from '../../scripts/source-maps.mjs'

const root = fileURLToPath(new URL('../..', import.meta.url))
const dist = join(root, 'dist')
const files = readdirSync(dist, { recursive: true, encoding: 'utf8' })
const read = (name: string) => JSON.parse(readFileSync(join(dist, name), 'utf8')) as { sources: string[]; mappings: string }
/** The sources of each file of dist/ that has a map, by path from the repository's root. */
const sourcesOf = new Map(
  files
    .filter((name) => name.endsWith('.js.map'))
    .map((name) => [name, read(name).sources.map((source) => relative(root, join(dist, dirname(name), source)))]),
)

/** The line of a source that a position of a file is mapped to; both from 0. */
function sourceLineOf(file: string, line: number, column: number): string | undefined {
  const { mappings } = read(`${file}.map`)
  let [source, sourceLine, found] = [0, 0, undefined as string | undefined]
  for (const [i, segments] of mappings
    .split(';')
    .slice(0, line + 1)
    .entries()) {
    let at = 0
    for (const segment of segments.split(',').filter(Boolean)) {
      const [columns = 0, toSource = 0, toLine = 0] = decode(segment)
      at += columns
      source += toSource
      sourceLine += toLine
      if (i === line && at <= column)
        found = readFileSync(join(root, sourcesOf.get(`${file}.map`)![source]!), 'utf8').split('\n')[sourceLine]
    }
  }
  return found
}

/** What a program says of errors, with the maps; each line names a source and a line of it, from 1. */
function framesOf(code: string): { source: string; line: number; text: string }[] {
  const options = ['--enable-source-maps', '--input-type=module', '--eval', code]
  const stack = execFileSync(process.execPath, options, { encoding: 'utf8', cwd: root })
  return [...stack.matchAll(/\(.*?[/\\]((?:src|dist)[/\\][^:]+):(\d+):\d+\)/g)].map(([, source = '', line = '']) => {
    return { source, line: Number(line), text: readFileSync(join(root, source), 'utf8').split('\n')[Number(line) - 1] ?? '' }
  })
}

describe('source maps of the package', () => {
  test('lead to files of this repository, or of bundled packages, without their contents', () => {
    expect(sourcesOf.size).toBeGreaterThan(4)
    for (const [name, sources] of sourcesOf) {
      expect(read(name)).not.toHaveProperty('sourcesContent')
      for (const source of sources) expect(source).toMatch(/^(src|assembly)\/.*\.ts$|^node_modules\/.*\.m?js$/)
      expect(sources.filter((source) => !existsSync(join(root, source)))).toEqual([])
    }
    const linked = files.filter((name) => /\.js$/.test(name) && /sourceMappingURL=/.test(readFileSync(join(dist, name), 'utf8')))
    expect(linked.map((name) => `${name}.map`).sort()).toEqual([...sourcesOf.keys()].sort())
  })

  test('show that every source is packed once, but for the few that edge workers replace', () => {
    const { 'workerd.js.map': ofWorkerd = [], ...others } = Object.fromEntries(sourcesOf)
    const all = Object.values(others).flat()
    expect(all.filter((source, i) => all.indexOf(source) !== i)).toEqual([])
    const again = ofWorkerd.filter((source) => all.includes(source))
    expect(again).toContain('src/device/create-runtime.ts') // it does see them
    expect(again.length).toBeLessThanOrEqual(4)
  })

  test.each([
    [
      'a static method',
      'try { Tensor.zeros([-1]) } catch (error) { console.log(error.stack) }',
      'src/tensor.ts',
      /throw new RoutedAttentionError/,
    ],
    [
      'a constructor',
      'try { new Tensor(5, [1]) } catch (error) { console.log(error.stack) }',
      'src/tensor.ts',
      /throw new RoutedAttentionError/,
    ],
    [
      'an async call',
      "await createRuntime({ threads: 'two' }).catch((error) => console.log(error.stack))",
      'src/device/create-runtime.ts',
      /throw new RoutedAttentionError/,
    ],
    [
      'a class',
      "await LanguageModel.load('nowhere', { workload: 5 }).catch((error) => console.log(error.stack))",
      'src/model/load-model.ts',
      /throw new RoutedAttentionError/,
    ],
  ])('give the stack trace of %s files and lines', (_, code, source, text) => {
    const [frame, ...callers] = framesOf(`import { createRuntime, LanguageModel, Tensor } from './dist/index.js'\n${code}`)
    expect(frame).toMatchObject({ source, text: expect.stringMatching(text) as string })
    expect(callers.map((caller) => caller.source).filter((caller) => caller.startsWith('dist'))).toEqual([])
  })

  test('name the lines behind an import that was changed after bundling', () => {
    const chunk = files.find((name) => name.endsWith('.js') && readFileSync(join(dist, name), 'utf8').includes('webpackIgnore'))!
    const lines = readFileSync(join(dist, chunk), 'utf8').split('\n')
    const line = lines.findIndex((text) => text.includes('webpackIgnore'))
    expect(sourceLineOf(chunk, line, lines[line]!.indexOf('await import('))).toMatch(/await import\(/)
    expect(sourceLineOf(chunk, line, lines[line]!.indexOf('return', lines[line]!.indexOf('webpackIgnore')))).toMatch(/return .*create\(/)
  })
})

describe('a source map', () => {
  const map = { version: 3, sources: ['a.ts', 'b.ts'], names: [], mappings: 'AAAA,EAAE,IACC;;AAAA,ECAA' }

  test('of lines keeps the first position of each', () => {
    expect(decode('IAgBC')).toEqual([4, 0, 16, 1])
    expect(keepLines(map)).toEqual({ ...map, mappings: 'AAAA,MACA;;AAAA,ECAA' })
  })

  test('follows lines before the text, and what is put into a line', () => {
    expect(afterLines(map, 2).mappings).toBe(`;;${map.mappings}`)
    expect(afterInsertion(map, 0, 1, 16).mappings).toBe('AAAA,kBAAE,IACC;;AAAA,ECAA')
    expect(afterInsertion(map, 2, 5, 16).mappings).toBe(map.mappings)
  })
})
