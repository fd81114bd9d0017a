/*
 * Maintains docs/api-report.d.ts, the public declarations without comments, sorted by name: a diff of it shows every
 * change of the public API, and nothing else.
 *
 *   node scripts/api-report.mjs [--check]
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { format, resolveConfig } from 'prettier'
import ts from 'typescript'
import { publicDeclarations } from './public-declarations.mjs'

process.chdir(fileURLToPath(new URL('..', import.meta.url)))
const file = 'docs/api-report.d.ts'
const current = 'build/api-report.d.ts'

const report = await makeReport()
if (!process.argv.includes('--check')) writeFileSync(file, report)
else if (!existsSync(file) || readFileSync(file, 'utf8') !== report) {
  mkdirSync('build', { recursive: true })
  writeFileSync(current, report)
  console.error(difference())
  console.error(
    `\nthe public surface is not what ${file} says; if that is meant: npm run api-report, a line in CHANGELOG.md, and commit both`,
  )
  process.exitCode = 1
}

async function makeReport() {
  const text = `/* The public surface, written by scripts/api-report.mjs. */\n${reportOf('index')}
declare module 'routed-attention/server' {\n${reportOf('server/index')}}
declare module 'routed-attention/ai-sdk' {\n${reportOf('ai-sdk/index')}}\n`
  return format(text, { ...(await resolveConfig(file)), parser: 'typescript' })
}

/** The declarations of an entry. @param {string} entry under src/, without its extension */
function reportOf(entry) {
  const { declarations, imports, exports } = publicDeclarations(entry)
  const printer = ts.createPrinter({ removeComments: true })
  const texts = [...declarations]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ text }) => printer.printFile(ts.createSourceFile('report.d.ts', text, ts.ScriptTarget.Latest)))
  return `${imports}${texts.join('\n')}\n${exports}\n`
}

function difference() {
  try {
    return execFileSync('git', ['--no-pager', 'diff', '--no-index', '--unified=1', file, current], { encoding: 'utf8' })
  } catch (error) {
    // git exits with status 1 if there are differences
    return /** @type {{ stdout: string }} */ (error).stdout
  }
}
