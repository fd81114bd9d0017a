/*
 * Writes the public declarations as one file, dist/index.d.ts, since Deno and JSR do not resolve ./name.js to a
 * declaration without a script; the same without global declarations, which JSR rejects, as jsr.d.ts; those of the other
 * entries, which import from it; and wasm-file.d.ts, for the .wasm files.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { publicDeclarations } from './public-declarations.mjs'

process.chdir(fileURLToPath(new URL('..', import.meta.url)))

const { declarations, exports } = publicDeclarations()
// for users who compile without lib.esnext.disposable; identical to its declarations, so that both can coexist
const disposal = `declare global {
  interface SymbolConstructor {
    readonly dispose: unique symbol
    readonly asyncDispose: unique symbol
  }
}
`
const surface = `${declarations.map(({ text }) => text).join('\n')}\n${exports}\n`
const wasmModule = declarations.find(({ name }) => name === 'WasmModule')?.text

mkdirSync('dist', { recursive: true })
writeFileSync('dist/index.d.ts', disposal + surface)
writeFileSync('dist/jsr.d.ts', surface)
writeFileSync('dist/server.d.ts', entryDeclarations('server/index'))
writeFileSync('dist/ai-sdk.d.ts', entryDeclarations('ai-sdk/index'))
// the type of an imported .wasm file, for hosts that import WebAssembly as modules
writeFileSync('dist/wasm-file.d.ts', `${wasmModule}\ndeclare const module: WasmModule\nexport default module\n`)

/** Declarations of an entry besides the main one. @param {string} entry under src/, without its extension */
function entryDeclarations(entry) {
  const { declarations, imports, exports } = publicDeclarations(entry)
  return `${imports}${declarations.map(({ text }) => text).join('\n')}\n${exports}\n`
}
