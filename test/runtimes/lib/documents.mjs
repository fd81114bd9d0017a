import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { model, project, root } from './paths.mjs'

/**
 * A page of the documents: its snippets by name, written as files into a folder of the project that has the model beside
 * it.
 * @param {string} path below docs/, without its extension
 */
export function readDocument(path) {
  const text = readFileSync(join(root, 'docs', `${path}.md`), 'utf8')
  const folder = join(project, 'documents', basename(path))
  mkdirSync(join(folder, 'models'), { recursive: true })
  symlinkSync(model, join(folder, 'models/novels-10m'), 'dir')
  /** @type {Record<string, string>} */
  const snippets = {}
  /** @type {string[]} */
  const commands = []
  for (const [, language, name = '', code = ''] of text.matchAll(/^```(\w+) ?(\S*)\n([\s\S]*?)^```$/gm)) {
    if (language === 'sh') commands.push(...code.trim().split('\n'))
    else if (!name || name in snippets) throw new Error(`docs/${path}.md has a snippet of ${language} that no test knows`)
    else {
      snippets[name] = code
      mkdirSync(dirname(join(folder, name)), { recursive: true })
      writeFileSync(join(folder, name), code)
    }
  }
  return { folder, snippets, commands }
}

/** Headers as a snippet writes them. @param {string | undefined} snippet @returns {Record<string, string>} */
export function parseHeaders(snippet = '') {
  return Object.fromEntries(snippet.trim().split('\n').map((line) => [line.split(': ')[0], line.slice(line.indexOf(': ') + 2)])) // prettier-ignore
}
