import { bundledBuild, type BuildName } from './bundled-builds.js'
import { markRevectorized } from './revectorize.js'

/** The compiled module of each build, cached for the process. */
const compiled = new Map<string, Promise<WebAssembly.Module>>()

/**
 * Compiles a build bundled with the package. `compile-static.ts` replaces this file on engines that cannot compile at
 * run time.
 * @param revectorized whether the engine was configured to generate 256-bit operations for it
 */
export function compileModule(name: BuildName, revectorized: boolean): Promise<WebAssembly.Module> {
  const key = `${name}${revectorized ? ', revectorized' : ''}`
  let module = compiled.get(key)
  if (!module) {
    const bytes = bundledBuild(name)
    module = WebAssembly.compile(revectorized ? markRevectorized(bytes) : bytes)
    compiled.set(key, module)
    module.catch(() => compiled.delete(key))
  }
  return module
}
