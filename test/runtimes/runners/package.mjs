import { cpSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { installTools, node, project, root, tool } from '../lib/paths.mjs'
import { execute } from '../lib/processes.mjs'
import { tarballs } from '../lib/project.mjs'

const missing = tool('publint/package.json') && tool('@arethetypeswrong/cli/package.json') && node(24) ? undefined : installTools

/** A consumer's program: what it declares wrong must be found, or the check sees no types at all. */
const consumer = `import { createRuntime, LanguageModel, type RuntimeInfo, Tensor } from 'routed-attention'
import relaxed from 'routed-attention/relaxed.wasm'

const runtime = await createRuntime({ threads: 2, wasm: relaxed })
const { threads, unavailable }: RuntimeInfo = runtime.info
const texts: string[] = []
const shape: readonly number[] = Tensor.randn([1, 2]).shape
const model = await LanguageModel.load(new Map(), { runtime })
for await (const { text } of model.generate('a', { maxTokens: threads })) texts.push(text)
// @ts-expect-error a number of threads is no text
await createRuntime({ threads: 'two' })
export { unavailable, shape }
`

/** What the tarball is, before anything of it runs. */
export const packages = [
  {
    id: 'package',
    name: 'the package itself',
    missing,
    async run() {
      const [tarball = ''] = tarballs
      const folder = join(project, 'package')
      mkdirSync(folder, { recursive: true })
      writeFileSync(join(folder, 'consumer.ts'), consumer)
      const results = []
      for (const [name, statement] of statements(tarball, folder)) {
        results.push(await statement().then(() => ({ name }), (error) => ({ name, error: String(error?.message ?? error) }))) // prettier-ignore
      }
      return { results }
    },
  },
]

/** @param {string} tarball @param {string} folder @returns {[string, () => Promise<unknown>][]} */
function statements(tarball, folder) {
  const installed = join(project, 'node_modules/routed-attention')
  const run = (/** @type {string} */ script, /** @type {string[]} */ ...args) =>
    execute(process.execPath, [String(tool(script)), ...args], { cwd: folder })
  const types = (/** @type {string} */ module, /** @type {string} */ moduleResolution, compiler = 'typescript') => {
    const compilerOptions = { noEmit: true, strict: true, target: 'es2022', lib: ['es2022'], types: [], module, moduleResolution }
    writeFileSync(join(folder, `${module}.json`), JSON.stringify({ compilerOptions, files: ['consumer.ts'] }))
    return run(`${compiler}/bin/tsc`, '--project', `${module}.json`)
  }
  return [
    ['passes publint, suggestions too', () => run('publint/src/cli.js', '--strict', '--pack', 'false', installed)],
    ["so does the model's", () => run('publint/src/cli.js', '--strict', '--pack', 'false', `${installed}-novels-10m`)],
    [
      // The worker file has no types, and is not imported but hosted.
      'passes arethetypeswrong, as a package of ES modules',
      () => run('@arethetypeswrong/cli/dist/index.js', '--profile', 'esm-only', '--exclude-entrypoints', 'worker.js', '--', tarball),
    ],
    ['has types under node16 resolution, without the DOM library', () => types('node16', 'node16')],
    ['has types under bundler resolution, without the DOM library', () => types('es2022', 'bundler')],
    ...['4.7', '5.0', '5.2'].map((version) => /** @type {[string, () => Promise<unknown>]} */ ([
      `has types in TypeScript ${version}`,
      () => types('node16', 'node16', `typescript-${version}`),
    ])), // prettier-ignore
    ['has types in Deno', () => execute(String(tool('@deno/linux-x64-glibc/deno')), ['check', 'consumer.ts'], { cwd: folder })],
    [
      'may be published on JSR, as far as a dry run tells',
      async () => {
        const copy = join(folder, 'jsr')
        mkdirSync(copy, { recursive: true })
        const documents = readdirSync(root).filter((name) => name.endsWith('.md'))
        for (const name of ['jsr.json', 'dist', 'docs', 'LICENSE', ...documents])
          cpSync(join(root, name), join(copy, name), { recursive: true })
        await execute(String(tool('@deno/linux-x64-glibc/deno')), ['publish', '--dry-run', '--allow-dirty'], { cwd: copy })
      },
    ],
    ...[20, 22, 24].map((version) => /** @type {[string, () => Promise<unknown>]} */ ([
      `may be required in Node ${version}`,
      async () => {
        const script = "require('routed-attention').createRuntime().then((runtime) => { console.log(runtime.info.device); return runtime.dispose() })"
        const printed = await execute(String(node(version)), ['--no-warnings', '--input-type=commonjs', '--eval', script], { cwd: folder })
        if (printed !== 'wasm\n') throw new Error(`it printed ${printed}`)
      },
    ])), // prettier-ignore
    [
      'does nothing at import',
      async () => {
        const script = `
          const refuse = (name) => () => { throw new Error(name + ' at import') }
          for (const name of ['Memory', 'Module', 'Instance', 'compile', 'instantiate']) WebAssembly[name] = refuse(name)
          globalThis.fetch = globalThis.setTimeout = globalThis.Worker = refuse('work')
          await import('routed-attention')
          console.log(process.getActiveResourcesInfo().filter((name) => !/TTY|Pipe|FS|CloseReq/.test(name)).join())`
        const printed = await execute(process.execPath, ['--input-type=module', '--eval', script], { cwd: folder })
        if (printed !== '\n') throw new Error(`it printed ${printed}`)
      },
    ],
  ]
}
