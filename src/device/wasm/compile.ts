import { inflate } from './inflate.js'
import { modules } from './modules.generated.js'
import { markRevectorized } from './revectorize.js'

/** The compiled module of each build, cached for the process. */
const compiled = new Map<string, Promise<WebAssembly.Module>>()

/**
 * Compiles a build bundled with the package. `compile-static.ts` replaces this file on engines that cannot compile at
 * run time.
 * @param revectorized whether the engine was configured to generate 256-bit operations for it
 */
export function compileModule(name: keyof typeof modules, revectorized: boolean): Promise<WebAssembly.Module> {
  const key = `${name}${revectorized ? ', revectorized' : ''}`
  let module = compiled.get(key)
  if (!module) {
    const { byteLength, deflated } = modules[name]
    const bytes = inflate(decodeBase64(deflated), byteLength)
    module = WebAssembly.compile(revectorized ? markRevectorized(bytes) : bytes)
    compiled.set(key, module)
    module.catch(() => compiled.delete(key))
  }
  return module
}

function decodeBase64(text: string): Uint8Array {
  const binary = atob(text)
  const bytes = new Uint8Array(binary.length)
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i)
  return bytes
}
