import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { createRequire } from 'node:module'
import ts from 'typescript'
import { expect, test } from 'vitest'

/** Types, classes and enums that a file declares at its top level. */
function declaredTypes(path: string): string[] {
  const file = ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.Latest)
  return file.statements.flatMap((node) =>
    ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node) || ts.isClassDeclaration(node) || ts.isEnumDeclaration(node)
      ? [node.name?.text ?? '']
      : [],
  )
}

/** Names that TypeScript's libraries or this runtime declare for everyone. */
function globalNames(): Set<string> {
  const folder = dirname(createRequire(import.meta.url).resolve('typescript'))
  const libraries = readdirSync(folder).filter((name) => /^lib\.(dom|es|webworker).*\.d\.ts$/.test(name))
  return new Set([...libraries.flatMap((name) => declaredTypes(join(folder, name))), ...Object.getOwnPropertyNames(globalThis)])
}

test('no type has the name of a global', () => {
  const globals = globalNames()
  for (const name of ['Buffer', 'Generator', 'Range', 'Selection']) expect(globals, name).toContain(name)
  const files = ['src', 'assembly', 'test'].flatMap((folder) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' }).flatMap((name) =>
      /^(?!.*node_modules).*\.ts$/.test(name) ? [join(folder, name)] : [],
    ),
  )
  expect(files.length).toBeGreaterThan(300)
  const shadowing = files.flatMap((path) => declaredTypes(path).flatMap((name) => (globals.has(name) ? [`${path}: ${name}`] : [])))
  expect(shadowing).toEqual([])
})
