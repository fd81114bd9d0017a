/** Links between the documents lead somewhere, and the files that the documents of this repository name are there. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
/** Installed, or built. */
const foreign = /^(node_modules|dist|build|coverage|\..*)$/
/** Documents that name files of a reader's own project, or files of another day. */
const namesOthers = /^(README|CHANGELOG|docs\/(platforms|training)|examples|models)\b/

const documents = markdownFiles('')
const folders = foldersIn('').map(({ name }) => name)

function foldersIn(folder: string) {
  return readdirSync(join(root, folder), { withFileTypes: true }).filter((entry) => entry.isDirectory() && !foreign.test(entry.name))
}

/** The Markdown files of a folder and those below, as paths from the root. */
function markdownFiles(folder: string): string[] {
  const here = readdirSync(join(root, folder)).filter((name) => name.endsWith('.md'))
  return [
    ...here.map((name) => posix.join(folder, name)),
    ...foldersIn(folder).flatMap(({ name }) => markdownFiles(posix.join(folder, name))),
  ]
}

/** Sources of a folder and those below. */
function sourceFiles(folder: string): string[] {
  const here = readdirSync(join(root, folder)).filter((name) => /\.(ts|mjs)$/.test(name))
  return [
    ...here.map((name) => posix.join(folder, name)),
    ...foldersIn(folder).flatMap(({ name }) => sourceFiles(posix.join(folder, name))),
  ]
}

/** A document's prose: neither code blocks nor comments. */
function proseOf(text: string): string {
  return text.replaceAll(/^ *(```|~~~)[\s\S]*?^ *\1/gm, '').replaceAll(/<!--[\s\S]*?-->/g, '')
}

/** The names that headings can be linked by, as GitHub makes them. */
function anchorsOf(text: string): string[] {
  const seen = new Map<string, number>()
  return [...proseOf(text).matchAll(/^#+ +(.*)$/gm)].map(([, title]) => {
    const name = title!
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-')
    const count = seen.get(name) ?? 0
    seen.set(name, count + 1)
    return count === 0 ? name : `${name}-${count}`
  })
}

/**
 * Links of a document that lead nowhere.
 * @param read a document by its path from the root; undefined for what is not there
 */
function brokenLinks(path: string, text: string, read = readDocument): string[] {
  const inline = [...proseOf(text).replaceAll(/`[^`\n]*`/g, '').matchAll(/\]\(<?([^)>\s]+)>?(?: "[^"]*")?\)/g)] // prettier-ignore
  const definitions = [...proseOf(text).matchAll(/^\[[^\]]+\]: +<?([^>\s]+)>?/gm)]
  return [...inline, ...definitions]
    .map(([, target]) => target!)
    .filter((target) => {
      if (/^[a-z][a-z0-9+.-]*:/i.test(target)) return false
      const [file = '', anchor] = decodeURIComponent(target).split('#')
      const linked = file === '' ? path : join(dirname(path), file)
      const content = file === '' ? text : read(linked)
      if (content === undefined) return true
      return anchor !== undefined && linked.endsWith('.md') && !anchorsOf(content).includes(anchor)
    })
}

function readDocument(path: string): string | undefined {
  if (!existsSync(join(root, path))) return undefined
  return path.endsWith('.md') ? readFileSync(join(root, path), 'utf8') : ''
}

/** Paths in a document that are neither in the repository nor next to the document. */
function absentFiles(path: string, text: string): string[] {
  const prose = proseOf(text).replaceAll(/\w+:\/\/\S+/g, '')
  const named = [
    // folders end with a slash, files have an extension
    ...prose.matchAll(
      /(?<![\w/.@<:$*~-])[A-Za-z.][\w.-]*(?:\/[\w.-]+)*\/(?:[\w.-]+\.(?:[cm]?[jt]s|json|md|py|html|safetensors))?(?![\w/*-])/g,
    ),
    ...prose.matchAll(new RegExp(`(?<![\\w/.@<:$*~-])(?:${folders.join('|')})/[\\w./-]*[\\w/](?![\\w*])`, 'g')),
  ].map(([name]) => name)
  return [...new Set(named)].filter((name) => !existsSync(join(root, name)) && !existsSync(join(root, dirname(path), name)))
}

describe('links between documents', () => {
  test.each(documents)('of %s lead to existing targets', (path) => {
    expect(brokenLinks(path, readFileSync(join(root, path), 'utf8'))).toEqual([])
  })

  test('are found, including broken ones and missing headings', () => {
    expect(documents).toEqual(expect.arrayContaining(['README.md', 'SECURITY.md', 'docs/SPEC.md', 'docs/platforms/node.md']))
    const text = [
      '# A title: its `code`',
      '[here](#a-title-its-code) [there](b.md#part) [out](https://example.com/none) [up](../package.json)',
      '[absent](absent.md) [no part](b.md#parts) [nor here](#title) `[code](gone.md)` [by name][1]',
      '```md',
      '[in code](gone.md)',
      '```',
      '[1]: gone-too.md',
    ].join('\n')
    const read = (path: string) => new Map([['docs/b.md', '## Part'], ['package.json', '']]).get(path) // prettier-ignore
    expect(brokenLinks('docs/a.md', text, read)).toEqual(['absent.md', 'b.md#parts', '#title', 'gone-too.md'])
  })
})

describe('documents that the code cites', () => {
  const citations = (text: string): RegExpExecArray[] => [...text.matchAll(/\b(docs\/[\w/-]+\.md)(?:#([\w-]+))?/g)]
  const isLost = ([, path, anchor]: RegExpExecArray) => {
    const text = readDocument(path!)
    return text === undefined || (anchor !== undefined && !anchorsOf(text).includes(anchor))
  }

  test('exist, with the headings that it cites', () => {
    const cited = ['src', 'assembly', 'bench', 'scripts']
      .flatMap(sourceFiles)
      .flatMap((path) => citations(readFileSync(join(root, path), 'utf8')))
    expect(cited.length).toBeGreaterThan(8)
    expect(cited.filter(isLost).map(([citation]) => citation)).toEqual([])
  })

  test('are found, including absent ones', () => {
    const cited = citations('(docs/SPEC.md, section 4) docs/KERNELS.md docs/SPEC.md#nowhere docs/kernel-pitfalls.md#tiering')
    expect(cited.filter(isLost).map(([citation]) => citation)).toEqual(['docs/KERNELS.md', 'docs/SPEC.md#nowhere'])
  })
})

describe('files that documents name', () => {
  test.each(documents.filter((path) => !namesOthers.test(path)))('in %s exist', (path) => {
    expect(absentFiles(path, readFileSync(join(root, path), 'utf8'))).toEqual([])
  })

  test('are found, including absent ones', () => {
    const text =
      'In `fixtures/` and src/model, src/gone; SPEC.md, fixtures/models.json, `test/golden/`, 1/√n, https://a.b/src/gone2, src/gone3.ts.'
    expect(absentFiles('docs/SPEC.md', text)).toEqual(['fixtures/', 'fixtures/models.json', 'src/gone3.ts', 'src/gone'])
  })
})

describe('identifiers that the maps name', () => {
  const sources = [
    'src',
    'assembly',
    'scripts',
    'test/kernels',
    'test/webgpu',
    'training/routed_attention_training',
    'package.json',
    '.ci/run',
  ]
  const code = sources.map((path) => textOf(path)).join('\n')

  /** The text of a file, or of every file of a folder and those below; generated code left out. */
  function textOf(path: string): string {
    if (path.includes('.')) return /tiles[.]ts|generated/.test(path) ? '' : readFileSync(join(root, path), 'utf8')
    return readdirSync(join(root, path)).map((name) => textOf(posix.join(path, name))).join('\n') // prettier-ignore
  }

  /** Identifiers in code spans; of `a.b` the last. */
  function identifiersIn(text: string): string[] {
    return [...proseOf(text).matchAll(/`(?:\w+[.])?([A-Za-z_]\w*)(?:\(\))?`/g)].map(([, name]) => name!)
  }

  test.each(['ARCHITECTURE.md', 'CONTRIBUTING.md'])('exist: %s', (path) => {
    const names = [...new Set(identifiersIn(readFileSync(join(root, path), 'utf8')))]
    expect(names.length).toBeGreaterThan(10)
    expect(names.filter((name) => !new RegExp(`\\b${name}\\b`).test(code))).toEqual([])
  })

  test('are distinguished from other words', () => {
    expect(identifiersIn('`one`, `Two.Three` and `four()`; `npm run five`, `six/seven.ts`, eight')).toEqual(['one', 'Three', 'four'])
  })
})
