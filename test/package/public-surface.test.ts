import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const file = join(root, 'dist/index.d.ts')
const declarations = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest, true)

/** Names that it declares, each with its statements; the global one is no name. */
const declared = new Map<string, ts.Statement[]>()
const exported: string[] = []
for (const statement of declarations.statements) {
  if (ts.isExportDeclaration(statement)) {
    for (const { name } of (statement.exportClause as ts.NamedExports).elements) exported.push(name.text)
  } else if (!ts.isModuleDeclaration(statement)) {
    const { name } = statement as ts.DeclarationStatement
    declared.set(name!.getText(), [...(declared.get(name!.getText()) ?? []), statement])
  }
}

/** Messages of the compiler for a program that uses the package. */
function compile(text: string): string[] {
  const options: ts.CompilerOptions = { noEmit: true, strict: true, target: ts.ScriptTarget.ES2022, lib: ['lib.es2022.d.ts'], types: [] }
  const host = ts.createCompilerHost(options)
  const { getSourceFile, fileExists } = host
  const consumer = join(root, 'dist/consumer.ts')
  host.fileExists = (name) => name === consumer || fileExists(name)
  host.getSourceFile = (name, target) => (name === consumer ? ts.createSourceFile(name, text, target) : getSourceFile(name, target))
  const program = ts.createProgram([consumer], options, host)
  return ts.getPreEmitDiagnostics(program).map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))
}

describe('the public declarations', () => {
  test('include every type that they use, and nothing else', () => {
    expect([...declared.keys()].filter((name) => !exported.includes(name))).toEqual(['Global']) // what aliases are made of
    expect(exported.filter((name) => !declared.has(name))).toEqual([])
  })

  test('document every name and member', () => {
    const isDocumented = (node: ts.Node) => ts.getJSDocCommentsAndTags(node).length > 0
    const undocumented = exported.flatMap((name) => {
      const statements = declared.get(name)!
      const members = statements
        .flatMap((statement) => [...((statement as ts.InterfaceDeclaration | ts.ClassDeclaration).members ?? [])])
        .filter((member) => !member.name?.getText().startsWith('#') && !(ts.getCombinedModifierFlags(member) & ts.ModifierFlags.Private))
      const label = (member: ts.Node & { name?: ts.Node }) => `${name}.${member.name?.getText() ?? 'constructor'}`
      // one of several overloads speaks for all
      const spoken = new Set(members.filter(isDocumented).map(label))
      return [...(statements.some(isDocumented) ? [] : [name]), ...members.map(label).filter((member) => !spoken.has(member))]
    })
    expect(exported.length).toBeGreaterThan(40) // it does see them
    expect(undocumented).toEqual([])
  })

  test('have no constructors for what createRuntime and a model return', () => {
    const make = (name: string) =>
      compile(`import { ${name} } from './index.js'\ndeclare const made: typeof ${name}\nexport default new made()`)
    for (const name of ['Runtime', 'Session']) expect(make(name)).toEqual([expect.stringMatching(/Constructor of class .* is private/)])
    expect(compile("import { Tensor } from './index.js'\nexport default new Tensor(new Float32Array(2), [2])")).toEqual([])
  })
})
