/*
 * Writes the declarations of the public surface as one file: dist/index.d.ts. (Deno and JSR resolve no ./name.js to a declaration without a script.)
 * jsr.d.ts is the same for JSR, which takes no global declarations and needs none. And wasm-file.d.ts, for the raw .wasm files.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { publicDeclarations } from './public-declarations.mjs'

process.chdir(fileURLToPath(new URL('..', import.meta.url)))

const { declarations, exports } = publicDeclarations()
// For whoever compiles without lib.esnext.disposable: as that declares them, so that both may stand.
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
// What an import of a .wasm file gives where engines import WebAssembly as modules.
writeFileSync('dist/wasm-file.d.ts', `${wasmModule}\ndeclare const module: WasmModule\nexport default module\n`)
