import { modules } from './modules.generated.js'
import { markRevectorized } from './revectorize.js'

/** The compiled module of each build, once for the process. */
const compiled = new Map<string, Promise<WebAssembly.Module>>()

/**
 * Compiles a build that travels inside the package. `compile-static.ts` stands in for this file where an engine
 * compiles nothing at run time.
 * @param revectorized whether the engine was told to make 256-bit operations of it
 */
export function compileModule(name: keyof typeof modules, revectorized: boolean): Promise<WebAssembly.Module> {
  const key = `${name}${revectorized ? ', revectorized' : ''}`
  let module = compiled.get(key)
  if (!module) {
    const bytes = decodeBase64(modules[name])
    module = WebAssembly.compile(revectorized ? markRevectorized(bytes) : bytes)
    compiled.set(key, module)
    module.catch(() => compiled.delete(key))
  }
  return module
}

function decodeBase64(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text)
  const bytes = new Uint8Array(binary.length)
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i)
  return bytes
}
