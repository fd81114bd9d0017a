import { build } from 'esbuild'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const dist = fileURLToPath(new URL('../../dist', import.meta.url))

// where the package is linked, since inside node_modules esbuild keeps its warnings to itself
test.each(['index', 'webgpu', 'server', 'ai-sdk'])(
  'an app that imports %s from a linked folder is bundled without a warning',
  async (entry) => {
    const { warnings, outputFiles } = await build({
      stdin: { contents: `import * as entry from './${entry}.js'\nglobalThis.entry = entry`, resolveDir: dist },
      bundle: true,
      platform: 'node',
      format: 'esm',
      write: false,
      logLevel: 'silent',
    })
    expect(warnings.map(({ text }) => text)).toEqual([])
    expect(outputFiles[0]!.contents.length).toBeGreaterThan(10_000)
  },
)
