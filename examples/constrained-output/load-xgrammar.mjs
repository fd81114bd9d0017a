// @ts-check
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/**
 * Loads @mlc-ai/web-xgrammar in Node. Its file is CommonJS, while its package.json says that it is a module, so that `import` and `require` both fail:
 * under a name that ends in .cjs it is what it is.
 * @returns {typeof import('@mlc-ai/web-xgrammar')}
 */
export function loadXgrammar() {
  const require = createRequire(import.meta.url)
  const folder = mkdtempSync(join(tmpdir(), 'web-xgrammar-'))
  try {
    const copy = join(folder, 'web-xgrammar.cjs')
    copyFileSync(require.resolve('@mlc-ai/web-xgrammar'), copy)
    return require(copy)
  } finally {
    rmSync(folder, { recursive: true })
  }
}
