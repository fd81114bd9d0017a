import { modules } from './modules.generated.js'

/** The compiled module of each build, once for the process. */
const compiled = new Map<string, Promise<WebAssembly.Module>>()

/** Compiles a build that travels inside the package. `compile-static.ts` stands in for this file where an engine compiles nothing at run time. */
export function compileModule(name: keyof typeof modules): Promise<WebAssembly.Module> {
  let module = compiled.get(name)
  if (!module) {
    module = WebAssembly.compile(decodeBase64(modules[name]))
    compiled.set(name, module)
    module.catch(() => compiled.delete(name))
  }
  return module
}

function decodeBase64(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text)
  const bytes = new Uint8Array(binary.length)
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i)
  return bytes
}
