/*
 * Writes the declarations of the public surface, src/index.ts and what it leads to, as one file: dist/index.d.ts. (Deno and JSR resolve no ./name.js
 * to a declaration without a script.) jsr.d.ts is the same for JSR, which takes no global declarations and needs none. And wasm-file.d.ts, for the raw
 * .wasm files. Fails on any error of type in them.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
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

/** Statements of the public declarations, each file's after those of the files that it imports. @type {string[]} */
const statements = []
/** @type {string[]} */
const exported = []
/** Which file declares a name: one file has room for one of each. @type {Map<string, string>} */
const declaredIn = new Map()
const visited = new Set()
visit('index')

mkdirSync('dist', { recursive: true })
// For whoever compiles without lib.esnext.disposable: as that declares them, so that both may stand.
const disposal = `declare global {
  interface SymbolConstructor {
    readonly dispose: unique symbol
    readonly asyncDispose: unique symbol
  }
}
`
const surface = `${statements.join('\n')}\n${exported.join('\n')}\n`
writeFileSync('dist/index.d.ts', disposal + surface)
writeFileSync('dist/jsr.d.ts', surface)
// What an import of a .wasm file gives where engines import WebAssembly as modules.
writeFileSync(
  'dist/wasm-file.d.ts',
  `${statements.find((text) => text.includes('type WasmModule'))}\ndeclare const module: WasmModule\nexport default module\n`,
)

/** @param {string} name */
function visit(name) {
  if (visited.has(name)) return
  visited.add(name)
  const source = parse(name)
  for (const { fileName } of ts.preProcessFile(source.text).importedFiles) {
    if (!fileName.startsWith('.'))
      throw new Error(`the public declarations (${name}) lead to the package ${fileName}, which users do not have`)
    visit(join(dirname(name), fileName).replace(/\.js$/, ''))
  }
  for (const statement of source.statements) {
    if (ts.isImportDeclaration(statement)) refuseOtherNames(name, statement.importClause?.namedBindings)
    else if (ts.isExportDeclaration(statement)) reexport(name, statement)
    else declare(name, statement)
  }
}

/** @param {string} name */
function parse(name) {
  const text = declarations.get(name)
  if (text === undefined || name.startsWith('..')) throw new Error(`the public declarations lead to ${name}, which is outside src/`)
  return ts.createSourceFile(`${name}.d.ts`, text, ts.ScriptTarget.Latest, true)
}

/** @param {string} name @param {ts.NamedImportBindings | ts.NamedExportBindings | undefined} bindings */
function refuseOtherNames(name, bindings) {
  const plain =
    bindings && (ts.isNamedImports(bindings) || ts.isNamedExports(bindings)) && bindings.elements.every(({ propertyName }) => !propertyName)
  if (!plain)
    throw new Error(`src/${name}.ts is part of the public declarations: it may import and export by name only, and rename nothing`)
}

/** @param {string} name @param {ts.ExportDeclaration} statement */
function reexport(name, statement) {
  refuseOtherNames(name, statement.exportClause)
  if (name === 'index') exported.push(`export ${statement.isTypeOnly ? 'type ' : ''}${statement.exportClause?.getText()};`)
}

/** @param {string} name @param {ts.Statement} statement */
function declare(name, statement) {
  const declared = ts.isVariableStatement(statement)
    ? statement.declarationList.declarations.map((declaration) => declaration.name.getText())
    : [/** @type {ts.DeclarationStatement} */ (statement).name?.getText() ?? '']
  for (const one of declared) {
    const other = declaredIn.get(one) ?? name
    if (other !== name) throw new Error(`the public declarations have two of the name ${one}, in src/${other}.ts and src/${name}.ts`)
    declaredIn.set(one, name)
  }
  const text = statement.getFullText().replace(/^(?:[ \t]*\n)+/, '')
  statements.push(
    text.slice(0, text.indexOf(statement.getText())) +
      statement.getText().replace(/^export (?:declare )?/, (word) => (word.includes('declare') ? 'declare ' : '')),
  )
}

/** @param {...ts.Diagnostic} problems @returns {never} */
function fail(...problems) {
  console.error(ts.formatDiagnosticsWithColorAndContext(problems, ts.createCompilerHost({})))
  process.exit(1)
}
