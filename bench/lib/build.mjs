/*
 * What the bench builds for itself before it measures: the package's inner modules as one file, and the ceilings.
 */
import { writeFileSync } from 'node:fs'
import { bench, built } from './paths.mjs'

/** `internals/` in one file. */
export async function buildInternals() {
  const { build } = await import('esbuild')
  await build({
    entryPoints: [`${bench}/internals/index.ts`],
    outfile: built('internals.mjs'),
    bundle: true,
    format: 'esm',
    platform: 'neutral',
    target: 'es2022',
    mainFields: ['module', 'main'],
    external: ['node:*'],
    logLevel: 'warning',
  })
}

/** ceiling/ceiling.ts for each arithmetic, with the compiler's options of the kernels. */
export async function buildCeilings() {
  const { default: asc } = await import('assemblyscript/asc')
  for (const simd of ['baseline', 'relaxed']) {
    const messages = asc.createMemoryStream()
    const { error } = await asc.main(
      [
        ...['ceiling/ceiling.ts', '--baseDir', bench, '--outFile', 'ceiling.wasm', '--runtime', 'stub', '--noAssert', '--use', 'abort='],
        ...['--optimizeLevel', '2', '--shrinkLevel', '0', '--enable', 'simd', '--enable', 'threads'],
        ...(simd === 'relaxed' ? ['--enable', 'relaxed-simd'] : []),
        ...['--importMemory', '--sharedMemory', '--initialMemory', '1', '--maximumMemory', '65536'],
      ],
      { stderr: messages, writeFile: (_, contents) => writeFileSync(built(`ceiling-${simd}.wasm`), contents) },
    )
    if (error) throw new Error(`ceiling.ts does not compile for ${simd}: ${messages.toString()}`)
  }
}
