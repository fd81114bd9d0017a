/*
 * Extracts the public declarations: those that an entry of the package exports, and those they refer to.
 */
import { readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const root = fileURLToPath(new URL('..', import.meta.url))

/**
 * @typedef {object} Declaration
 * @property {string} name
 * @property {string} file under src/, without its extension
 * @property {string} text with its comments, without `export`
 * @property {readonly string[]} mentions names of types in it
 * @property {boolean} isAlias
 */

/** The main entry, under src/. */
const MAIN = 'index'

/**
 * @param {string} entry under src/, without its extension. What the main entry exports as well, other entries import from
 *   it, since a class declared twice would be two types
 * @returns {{ declarations: readonly Declaration[], imports: string, exports: string }} the declarations, in import order
 *   of their files, and the import and export statements, sorted by name
 * @throws Error for type errors, and if a public declaration refers to a type that is not exported, which users could
 *   not name
 */
export function publicDeclarations(entry = MAIN) {
  const { program, texts } = emitDeclarations(entry)
  /** @type {Declaration[]} */
  const all = []
  /** By exported name, whether it is exported as a type only. @type {Map<string, boolean>} */
  const exported = new Map()
  /** Types of other packages, by name, with the package. @type {Map<string, string>} */
  const foreign = new Map()
  visit(entry, new Set())
  const main = new Set(entry === MAIN ? [] : exportedNames(MAIN))

  /** @type {Map<string, Declaration[]>} */
  const byName = new Map()
  for (const declaration of all) byName.set(declaration.name, [...(byName.get(declaration.name) ?? []), declaration])
  const reached = new Set(exported.keys())
  // iterating over a set includes elements added during the iteration
  for (const name of reached) {
    if (main.has(name)) continue
    const declarations = byName.get(name) ?? []
    const files = new Set(declarations.map(({ file }) => `src/${file}.ts`))
    if (files.size > 1)
      throw new Error(`the public name ${name} is declared in ${[...files].join(' and ')}; one of them needs another name`)
    for (const mentioned of declarations.flatMap(({ mentions }) => mentions)) if (byName.has(mentioned)) reached.add(mentioned)
  }
  const declarations = all.filter(({ name }) => reached.has(name) && !main.has(name))
  refuseNameless(entry, declarations, new Set([...exported.keys(), ...main]), new Set(byName.keys()))
  const imported = [...reached].filter((name) => main.has(name)).sort()
  const mentioned = new Set(declarations.flatMap(({ mentions }) => mentions))
  const packages = [...new Set(foreign.values())].sort().map((from) => importTypes([...mentioned].filter((name) => foreign.get(name) === from).sort(), from)) // prettier-ignore
  const list = (/** @type {boolean} */ asType) => [...exported.keys()].filter((name) => exported.get(name) === asType).sort().join(', ') // prettier-ignore
  const imports = [...packages, importTypes(imported, `./${MAIN}.js`)].join('')
  return { declarations, imports, exports: `export { ${list(false)} }\nexport type { ${list(true)} }` }

  /** @param {string} file @param {Set<string>} visited */
  function visit(file, visited) {
    const text = texts.get(file)
    // other imports are either not public, or lack a declaration when the result is checked
    if (text === undefined || visited.has(file)) return
    visited.add(file)
    for (const { fileName } of ts.preProcessFile(text).importedFiles) visit(join(dirname(file), fileName).replace(/\.js$/, ''), visited)
    for (const statement of ts.createSourceFile(`${file}.d.ts`, text, ts.ScriptTarget.Latest, true).statements) {
      if (ts.isImportDeclaration(statement)) addImport(file, statement)
      else if (!ts.isExportDeclaration(statement)) all.push(...declarationsOf(statement, file, program))
      else if (file === entry) reexport(statement)
    }
  }

  /** @param {string} file @param {ts.ImportDeclaration} statement */
  function addImport(file, { importClause, moduleSpecifier }) {
    refuseOtherNames(file, importClause?.namedBindings)
    const from = /** @type {ts.StringLiteral} */ (moduleSpecifier).text
    const { elements } = /** @type {ts.NamedImports} */ (importClause?.namedBindings)
    if (!from.startsWith('.')) for (const { name } of elements) foreign.set(name.text, from)
  }

  /** @param {ts.ExportDeclaration} statement */
  function reexport({ exportClause, isTypeOnly }) {
    refuseOtherNames(entry, exportClause)
    const { elements } = /** @type {ts.NamedExports} */ (exportClause)
    for (const element of elements) exported.set(element.name.text, isTypeOnly || element.isTypeOnly)
  }
}

/** @param {readonly string[]} names @param {string} from */
function importTypes(names, from) {
  return names.length === 0 ? '' : `import type { ${names.join(', ')} } from '${from}'\n`
}

/** Names that an entry exports. @param {string} entry */
function exportedNames(entry) {
  const source = ts.createSourceFile(entry, readFileSync(join(root, 'src', `${entry}.ts`), 'utf8'), ts.ScriptTarget.Latest)
  return source.statements.flatMap((statement) => {
    const clause = ts.isExportDeclaration(statement) ? statement.exportClause : undefined
    return clause && ts.isNamedExports(clause) ? clause.elements.map(({ name }) => name.text) : []
  })
}

/**
 * Emits the declarations of an entry and all it imports, by source path under src/ without extension.
 * @param {string} entry
 * @returns {{ program: ts.Program, texts: Map<string, string> }}
 */
function emitDeclarations(entry) {
  const parsed = ts.getParsedCommandLineOfConfigFile(
    join(root, 'tsconfig.json'),
    { noEmit: false, declaration: true, emitDeclarationOnly: true, stripInternal: true, outDir: '/declarations', rootDir: root },
    { ...ts.sys, onUnRecoverableConfigFileDiagnostic: (diagnostic) => refuse([diagnostic]) },
  )
  if (!parsed) throw new Error('tsconfig.json could not be read')
  const program = ts.createProgram([join(root, 'src', `${entry}.ts`)], parsed.options)
  const texts = new Map()
  const { diagnostics } = program.emit(undefined, (name, text) => {
    texts.set(relative('/declarations/src', name).replace(/\.d\.ts$/, ''), text)
  })
  refuse([...ts.getPreEmitDiagnostics(program), ...diagnostics])
  return { program, texts }
}

/** @param {readonly ts.Diagnostic[]} diagnostics */
function refuse(diagnostics) {
  if (diagnostics.length > 0) throw new Error(ts.formatDiagnostics(diagnostics, ts.createCompilerHost({})))
}

/** @param {ts.Statement} statement @param {string} file @param {ts.Program} program @returns {Declaration[]} */
function declarationsOf(statement, file, program) {
  const names = ts.isVariableStatement(statement)
    ? statement.declarationList.declarations.map(({ name }) => name.getText())
    : [/** @type {ts.DeclarationStatement} */ (statement).name?.getText() ?? '']
  const comments = statement.getFullText().slice(0, -statement.getText().length)
  const code = closeConstructor(statement, program.getSourceFile(join(root, 'src', `${file}.ts`)))
  const text = comments.replace(/^(?:[ \t]*\n)+/, '') + code.replace(/^export (declare )?/, '$1')
  return names.map((name) => ({ name, file, text, mentions: mentionsOf(statement), isAlias: ts.isTypeAliasDeclaration(statement) }))
}

/**
 * A statement's text. If a class's constructor is internal, a private one is declared instead: without any, the
 * declaration would allow calls without arguments.
 * @param {ts.Statement} statement @param {ts.SourceFile | undefined} source
 */
function closeConstructor(statement, source) {
  const text = statement.getText()
  if (!ts.isClassDeclaration(statement) || statement.members.some(ts.isConstructorDeclaration)) return text
  const written = source?.statements.find((other) => ts.isClassDeclaration(other) && other.name?.text === statement.name?.text)
  if (!written || !(/** @type {ts.ClassDeclaration} */ (written).members.some(ts.isConstructorDeclaration))) return text
  const body = statement.members.pos - statement.getStart()
  return `${text.slice(0, body)}\n    private constructor();${text.slice(body)}`
}

/** Names of the types in a statement. @param {ts.Statement} statement */
function mentionsOf(statement) {
  /** @type {string[]} */
  const names = []
  /** @param {ts.Node} node */
  const visit = (node) => {
    if (ts.isTypeReferenceNode(node)) names.push(node.typeName.getText())
    else if (ts.isExpressionWithTypeArguments(node)) names.push(node.expression.getText())
    else if (ts.isTypeQueryNode(node)) names.push(node.exprName.getText())
    ts.forEachChild(node, visit)
  }
  visit(statement)
  return names
}

/** @param {string} file @param {ts.NamedImportBindings | ts.NamedExportBindings | undefined} bindings */
function refuseOtherNames(file, bindings) {
  const isPlain =
    bindings && (ts.isNamedImports(bindings) || ts.isNamedExports(bindings)) && bindings.elements.every(({ propertyName }) => !propertyName)
  if (!isPlain)
    throw new Error(`src/${file}.ts is part of the public declarations: it may import and export by name only, and rename nothing`)
}

/**
 * Checks that every type is exported, except those that only occur in aliases.
 * @param {string} entry
 * @param {readonly Declaration[]} declarations
 * @param {ReadonlySet<string>} exported
 * @param {ReadonlySet<string>} declared
 */
function refuseNameless(entry, declarations, exported, declared) {
  const nameless = declarations
    .filter(({ isAlias }) => !isAlias)
    .flatMap(({ name, mentions }) =>
      mentions.filter((type) => declared.has(type) && !exported.has(type)).map((type) => `${type} (in ${name})`),
    )
  if (nameless.length > 0) throw new Error(`src/${entry}.ts must export what its exports mention: ${[...new Set(nameless)].join(', ')}`)
}
