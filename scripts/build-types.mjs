/*
 * Writes the declarations of the public surface into dist/: src/index.d.ts and what it leads to, nothing internal.
 * Fails on any error of type in them.
 */
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const root = fileURLToPath(new URL('..', import.meta.url))
process.chdir(root)

const config = ts.getParsedCommandLineOfConfigFile(
  'tsconfig.json',
  { noEmit: false, declaration: true, emitDeclarationOnly: true, stripInternal: true, outDir: '/declarations', rootDir: root },
  { ...ts.sys, onUnRecoverableConfigFileDiagnostic: fail },
)
if (!config) throw new Error('tsconfig.json could not be read')

const program = ts.createProgram([join(root, 'src/index.ts')], config.options)
/** Declarations by the path of their source without its extension, relative to src/. @type {Map<string, string>} */
const declarations = new Map()
const { diagnostics } = program.emit(undefined, (name, text) => {
  declarations.set(relative('/declarations/src', name).replace(/\.d\.ts$/, ''), text)
})
const problems = [...ts.getPreEmitDiagnostics(program), ...diagnostics]
if (problems.length > 0) fail(...problems)

for (const name of existsSync('dist') ? readdirSync('dist', { recursive: true, encoding: 'utf8' }) : []) {
  if (name.endsWith('.d.ts')) rmSync(join('dist', name))
}
const written = new Set()
write('index')

/** @param {string} name */
function write(name) {
  if (written.has(name)) return
  written.add(name)
  const text = declarations.get(name)
  if (text === undefined || name.startsWith('..')) throw new Error(`the public declarations lead to ${name}, which is outside src/`)
  const file = join('dist', `${name}.d.ts`)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, text)
  for (const { fileName } of ts.preProcessFile(text).importedFiles) {
    if (!fileName.startsWith('.'))
      throw new Error(`the public declarations (${name}) lead to the package ${fileName}, which users do not have`)
    write(relative('.', join(dirname(name), fileName)).replace(/\.js$/, ''))
  }
}

/** @param {...ts.Diagnostic} problems @returns {never} */
function fail(...problems) {
  console.error(ts.formatDiagnosticsWithColorAndContext(problems, ts.createCompilerHost({})))
  process.exit(1)
}
