import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { cruise, type ICruiseResult, type IFlattenedRuleSet } from 'dependency-cruiser'
import ts from 'typescript'
import { afterAll, describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const temporary = mkdtempSync(join(tmpdir(), 'routed-attention-structure-'))
afterAll(() => rmSync(temporary, { recursive: true, force: true }))

const { forbidden, options } = createRequire(import.meta.url)('../../.dependency-cruiser.cjs') as {
  forbidden: NonNullable<IFlattenedRuleSet['forbidden']>
  options: object
}

async function cruiseTree(folder: string): Promise<ICruiseResult> {
  const { output } = await cruise(['src'], { ...options, baseDir: folder, validate: true, ruleSet: { forbidden } })
  if (typeof output === 'string') throw new Error(output)
  return output
}

/** Names of the rules that a tree of these files breaks. */
async function brokenRules(files: Record<string, string>): Promise<string[]> {
  const folder = mkdtempSync(join(temporary, 'tree-'))
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), text)
  }
  const { summary } = await cruiseTree(folder)
  return [...new Set(summary.violations.map(({ rule }) => rule.name))]
}

const exported = 'export const value = 1\n'

describe('imports', () => {
  test('in src go downwards only, without cycles', async () => {
    const { modules, summary } = await cruiseTree(root)
    const imports = modules.flatMap(({ source, dependencies }) => dependencies.map(({ resolved }) => `${source} → ${resolved}`))
    expect(imports).toContain('src/tensor.ts → src/errors.ts') // it does see imports
    expect(summary.violations).toEqual([])
  })

  test.each([
    ['src/errors.ts', 'src/memory/arena.ts', 'root-downwards'],
    ['src/tensor.ts', 'src/index.ts', 'root-downwards'],
    ['src/memory/arena.ts', 'src/device/device.ts', 'memory-downwards'],
    ['src/memory/arena.ts', 'assembly/ir/ops.ts', 'memory-downwards'],
    ['src/program/encode-op.ts', 'src/device/device.ts', 'program-downwards'],
    ['src/device/wasm/pool.ts', 'src/plan/program.ts', 'device-downwards'],
    ['src/device/device.ts', 'src/io/safetensors.ts', 'device-downwards'],
    ['src/device/device.ts', 'assembly/program.ts', 'device-downwards'],
    ['src/io/safetensors.ts', 'src/memory/arena.ts', 'io-downwards'],
    ['src/plan/program.ts', 'src/model/layer.ts', 'plan-downwards'],
    ['src/plan/program.ts', 'src/io/safetensors.ts', 'plan-downwards'],
    ['src/model/layer.ts', 'src/index.ts', 'model-downwards'],
    ['src/model/layer.ts', 'assembly/ir/ops.ts', 'model-downwards'],
    ['src/index.ts', 'src/cli/main.ts', 'index-downwards'],
    ['src/index.ts', 'src/server/handler.ts', 'index-downwards'],
    ['src/model/layer.ts', 'src/server/handler.ts', 'model-downwards'],
    ['src/server/handler.ts', 'src/cli/main.ts', 'server-downwards'],
    ['src/server/handler.ts', 'src/index.ts', 'server-downwards'],
    ['src/ai-sdk/turn.ts', 'src/server/handler.ts', 'ai-sdk-downwards'],
    ['src/ai-sdk/turn.ts', 'src/index.ts', 'ai-sdk-downwards'],
    ['src/model/layer.ts', 'src/ai-sdk/turn.ts', 'model-downwards'],
    ['src/cli/main.ts', 'test/helper.ts', 'cli-downwards'],
    ['src/elsewhere/file.ts', 'src/errors.ts', 'known-part'],
  ])('%s may not import %s', async (from, to, rule) => {
    const path = `${'../'.repeat(from.split('/').length - 1)}${to.replace(/ts$/, 'js')}`
    expect(await brokenRules({ [from]: `import '${path}'\n`, [to]: exported })).toEqual([rule])
    expect(await brokenRules({ [from]: `export type { value } from '${path}'\n`, [to]: exported })).toEqual([rule])
  })

  test('load the WebGPU device only by import(), except from the entry that bundles it', async () => {
    const { modules } = await cruiseTree(root)
    const gpu = 'src/device/webgpu/'
    const reaching = modules
      .filter(({ source }) => !source.startsWith(gpu))
      .flatMap(({ source, dependencies }) => dependencies.map((dependency) => ({ source, ...dependency })))
      .filter(({ resolved, dependencyTypes }) => resolved.startsWith(gpu) && !dependencyTypes.includes('type-only'))
    expect(reaching.map(({ source, resolved, dynamic }) => ({ source, resolved, dynamic }))).toEqual([
      { source: 'src/device/create-runtime.ts', resolved: `${gpu}open.ts`, dynamic: true },
      { source: 'src/webgpu.ts', resolved: `${gpu}open.ts`, dynamic: false },
    ])
  })

  test("use only the types of the AI SDK's provider interface", async () => {
    const manifest = { 'package.json': '{ "type": "module", "devDependencies": { "@ai-sdk/provider": "4", "ai": "7" } }' }
    const packages = Object.fromEntries(
      ['@ai-sdk/provider', 'ai'].flatMap((name) => [
        [`node_modules/${name}/package.json`, `{ "name": "${name}", "type": "module", "exports": "./index.js" }`],
        [`node_modules/${name}/index.js`, exported],
      ]),
    )
    const broken = (code: string, file = 'src/ai-sdk/turn.ts') => brokenRules({ ...manifest, ...packages, [file]: code })
    expect(await broken("import type { value } from '@ai-sdk/provider'\nexport type Value = typeof value\n")).toEqual([])
    expect(await broken("import { value } from '@ai-sdk/provider'\nconsole.log(value)\n")).toEqual(['ai-sdk-types'])
    expect(await broken("import type { value } from 'ai'\nexport type Value = typeof value\n")).toEqual(['ai-sdk-provider'])
    expect(await broken("import type { value } from '@ai-sdk/provider'\nexport type Value = typeof value\n", 'src/model/a.ts')).toEqual([
      'packages',
    ])
  })

  test('may not be circular', async () => {
    const files = { 'src/plan/a.ts': "import './b.js'\n", 'src/plan/b.ts': "import './a.js'\n" }
    expect(await brokenRules(files)).toEqual(['no-circular'])
  })

  test.each([
    ['src/cli/main.ts', 'src/index.ts'],
    ['src/cli/main.ts', 'src/server/handler.ts'],
    ['src/server/handler.ts', 'src/model/layer.ts'],
    ['src/ai-sdk/turn.ts', 'src/model/layer.ts'],
    ['src/index.ts', 'src/model/layer.ts'],
    ['src/model/layer.ts', 'src/plan/program.ts'],
    ['src/model/model.ts', 'src/io/safetensors.ts'],
    ['src/plan/program.ts', 'assembly/ir/ops.ts'],
    ['src/device/wasm/pool.ts', 'src/program/encode-op.ts'],
    ['src/program/encode-op.ts', 'assembly/ir/ops.ts'],
    ['src/device/wasm/pool.ts', 'src/memory/arena.ts'],
    ['src/memory/arena.ts', 'src/errors.ts'],
  ])('%s may import %s', async (from, to) => {
    const path = `${'../'.repeat(from.split('/').length - 1)}${to.replace(/ts$/, 'js')}`
    expect(await brokenRules({ [from]: `import '${path}'\n`, [to]: exported })).toEqual([])
  })
})

test('the types and tables of the options are up to date with their schema', () => {
  const { status, stderr } = spawnSync(process.execPath, [join(root, 'scripts/generate-config.mjs'), '--check'], { encoding: 'utf8' })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
})

describe('generated kernels', () => {
  const generator = 'assembly/generate/generate.mjs'

  test('are up to date with the generator', () => {
    const { status, stderr } = spawnSync(process.execPath, [join(root, generator), '--check'], { encoding: 'utf8' })
    expect(stderr).toBe('')
    expect(status).toBe(0)
  })

  test('that were edited or are missing fail the check by name, and are restored by the generator', () => {
    const copied = join(temporary, 'generated')
    for (const path of ['assembly', 'src/program', '.prettierrc.json']) cpSync(join(root, path), join(copied, path), { recursive: true })
    symlinkSync(join(root, 'node_modules'), join(copied, 'node_modules'))
    const copy = join(copied, generator)
    const check = () => spawnSync(process.execPath, [copy, '--check'], { encoding: 'utf8' })

    const files = [
      'assembly/kernels/tiles.ts',
      'assembly/ir/ops.ts',
      'assembly/kernels/table.ts',
      'src/program/op-fields.ts',
      'src/program/op-access.ts',
    ]
    const sources = files.map((file) => readFileSync(join(copied, file), 'utf8'))
    const named = { status: 1, stderr: expect.stringMatching(files.map((file) => `${file}.*`).join('\\n.*')) }
    files.forEach((file, i) => writeFileSync(join(copied, file), `${sources[i]}// edited\n`))
    expect(check()).toMatchObject(named)
    for (const file of files) rmSync(join(copied, file))
    expect(check()).toMatchObject(named)
    execFileSync(process.execPath, [copy])
    expect(files.map((file) => readFileSync(join(copied, file), 'utf8'))).toEqual(sources)
  })
})

/** What an entry of the package loads when it is imported, and the chunks that it may load later. */
function loadedAtOnce(entry: string): { text: string; chunks: string[] } {
  const texts = new Map<string, string>()
  const chunks: string[] = []
  const load = (file: string) => {
    if (texts.has(file)) return
    const text = readFileSync(file, 'utf8')
    texts.set(file, text)
    for (const { groups } of text.matchAll(/(?<later>import\()?(?:(?:import|from) ?)?"(?<path>\.\.?\/[^"]+\.js)"/g)) {
      const path = join(dirname(file), groups!['path']!)
      if (groups!['later']) chunks.push(path)
      else load(path)
    }
  }
  load(entry)
  return { text: [...texts.values()].join('\n'), chunks }
}

describe('the package', () => {
  test('has no dependencies, and ships neither the model nor the checked builds', () => {
    const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Record<string, unknown>
    for (const field of ['dependencies', 'optionalDependencies']) expect(manifest).not.toHaveProperty(field)
    // what gives Node WebGPU, and the AI SDK, are the user's to install, or not
    const optional = ['@ai-sdk/provider', 'webgpu']
    expect(Object.keys(manifest['peerDependencies'] as object)).toEqual(optional)
    expect(manifest['peerDependenciesMeta']).toEqual(Object.fromEntries(optional.map((name) => [name, { optional: true }])))

    const listing = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: root, encoding: 'utf8' })
    const [tarball] = JSON.parse(listing) as { files: { path: string }[] }[]
    const files = tarball!.files.map(({ path }) => path)
    expect(files).toEqual(
      expect.arrayContaining(
        [
          ...[
            'index.js',
            'index.d.ts',
            'webgpu.js',
            'workerd.js',
            'worker.js',
            'relaxed.wasm',
            'baseline.wasm',
            'wasm-file.d.ts',
            'cli.js',
          ],
          ...['server.js', 'server.d.ts', 'ai-sdk.js', 'ai-sdk.d.ts'],
        ].map((name) => `dist/${name}`),
      ),
    )
    expect(files.filter((path) => !/^(dist\/.*|docs\/.*\.(md|svg)|package\.json|LICENSE|[A-Z]+\.md)$/.test(path))).toEqual([])
    expect(files.filter((path) => /checked|\.wat$/.test(path))).toEqual([])
  })

  test('fits the budgets of the engine and of the tarball, and the check of each can fail', () => {
    const check = (...budgets: string[]) =>
      spawnSync(process.execPath, [join(root, 'scripts/check-size.mjs'), ...budgets], { encoding: 'utf8' })
    const sizes = /^the engine, gzipped, has \d+\.\d kB of 185\.0 kB\nthe tarball has \d+\.\d kB of 500\.0 kB\n$/
    expect(check()).toMatchObject({ status: 0, stdout: expect.stringMatching(sizes) })
    expect(check('1000')).toMatchObject({ status: 1, stderr: expect.stringContaining('dist/chunks/') })
    expect(check('185000', '1000')).toMatchObject({ status: 1, stderr: expect.stringContaining('dist/') })
  })

  const ofWebGpu = /@compute|@group|requestAdapter|createComputePipeline|createShaderModule/

  test('has in workerd.js nothing of WebGPU, which edge workers do not have', () => {
    const { text, chunks } = loadedAtOnce(join(root, 'dist/workerd.js'))
    for (const part of [text, ...chunks.map((path) => loadedAtOnce(path).text)]) expect(part).not.toMatch(ofWebGpu)
  })

  test('has in workerd.js the builds as files alone, over the chunks of the other entries', () => {
    const { text } = loadedAtOnce(join(root, 'dist/workerd.js'))
    const build = /\bdeflated:\s*"/
    expect(loadedAtOnce(join(root, 'dist/index.js')).text).toMatch(build) // it does see a build
    expect(text).not.toMatch(build)
    const chunkOf = (entry: string, name: string) =>
      new RegExp(`[{,]${name}[},][^"]*from"([^"]+)"`).exec(readFileSync(join(root, 'dist', entry), 'utf8'))?.[1]
    for (const name of ['Tensor', 'MixtureOfAutoregressiveAttention', 'RoutedAttentionError']) {
      expect(chunkOf('workerd.js', name)).toMatch(/^\.\/chunks\//)
      expect(chunkOf('workerd.js', name)).toBe(chunkOf('index.js', name))
    }
  })

  test('has in index.js nothing of WebGPU but the import of its chunk', () => {
    const { text, chunks } = loadedAtOnce(join(root, 'dist/index.js'))
    expect(text).not.toMatch(ofWebGpu)
    const open = chunks.filter((path) => /\/open-[^/]+$/.test(path))
    expect(open).toHaveLength(1)
    expect(loadedAtOnce(open[0]!).text).toMatch(ofWebGpu)
  })

  test('has in webgpu.js all of WebGPU, over the same chunks, for places that forbid import()', () => {
    const { text } = loadedAtOnce(join(root, 'dist/webgpu.js'))
    expect(text).toMatch(/requestAdapter/)
    // what is shared is one: an error or a Tensor of either entry is the other's
    const shared = (entry: string) =>
      [...readFileSync(join(root, 'dist', entry), 'utf8').matchAll(/LanguageModel.*?from"([^"]+)"/g)].map(([, path]) => path)
    expect(shared('webgpu.js')).toEqual(shared('index.js'))
    expect(shared('index.js')).toHaveLength(1)
  })

  test('declares for JSR and Deno what it declares for npm', () => {
    const read = (name: string) => readFileSync(join(root, name), 'utf8')
    const npm = JSON.parse(read('package.json')) as {
      version: string
      license: string
      exports: { '.': { types: string; default: string } }
    }
    const jsr = JSON.parse(read('jsr.json')) as { version: string; license: string; exports: string; publish: { include: string[] } }
    expect(jsr).toMatchObject({ version: npm.version, license: npm.license, exports: npm.exports['.'].default })
    // the same but for what JSR refuses: a global declaration
    const global = /^declare global \{\n[^}]*\}\n\}\n/
    expect(read('dist/index.d.ts')).toMatch(global)
    expect(read('dist/jsr.d.ts')).toBe(read('dist/index.d.ts').replace(global, ''))
    expect(read('dist/index.js')).toMatch(/^\/\* @ts-self-types="\.\/jsr\.d\.ts" \*\/\n/)
    expect(jsr.publish.include).toContain('dist/jsr.d.ts')
  })

  test.each([
    ['server.js', /function createHandler/],
    ['ai-sdk.js', /function createRoutedAttention/],
  ])('has nothing of the main entry in %s: neither an engine nor a model', (entry, own) => {
    const { text } = loadedAtOnce(join(root, 'dist', entry))
    expect(text).toMatch(own) // it does see the entry
    // a copy of these would be another class than that of workerd.js
    const classes = /\b(LanguageModel|Runtime|Arena)=class\b/
    expect(text).not.toMatch(classes)
    expect(loadedAtOnce(join(root, 'dist/index.js')).text).toMatch(classes)
  })

  test.each([
    ['neither the DOM nor Node nor a library for Symbol.dispose', ['es2022']],
    ['nothing that the library for Symbol.dispose or the DOM contradicts', ['es2022', 'esnext.disposable', 'dom']],
  ])('declares types that need %s', (_, libraries) => {
    const entries = ['dist/index.d.ts', 'dist/server.d.ts'].map((name) => join(root, name))
    const declarations = ts.createProgram(entries, {
      noEmit: true,
      strict: true,
      skipLibCheck: false,
      target: ts.ScriptTarget.ES2022,
      lib: libraries.map((name) => `lib.${name}.d.ts`),
      types: [],
      module: ts.ModuleKind.NodeNext,
      moduleResolution: ts.ModuleResolutionKind.NodeNext,
    })
    const messages = ts.getPreEmitDiagnostics(declarations).map(({ file, messageText }) => {
      return `${file?.fileName ?? ''}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`
    })
    expect(messages).toEqual([])
  })

  test("declares a model that the AI SDK's provider interface accepts, without needing our types there", () => {
    const consumer = join(root, 'dist/consumer.ts')
    const text = `import type { LanguageModelV4 } from '@ai-sdk/provider'
      import { LanguageModel, PrefixCache } from './index.js'
      import { createRoutedAttention } from './ai-sdk.js'
      declare const model: LanguageModel
      export const made: LanguageModelV4 = createRoutedAttention(model, {
        prompt: (messages) => messages.map(({ role }) => role).join(),
        constrain: (schema) => ({ logitsProcessor: (logits) => void logits.fill(schema.minimum ?? 0) }),
        prefixCache: new PrefixCache(model, { maxBytes: 1e6 }),
      })`
    const options: ts.CompilerOptions = {
      noEmit: true,
      strict: true,
      target: ts.ScriptTarget.ES2022,
      lib: ['lib.es2022.d.ts', 'lib.dom.d.ts'],
      types: [],
      module: ts.ModuleKind.NodeNext,
      moduleResolution: ts.ModuleResolutionKind.NodeNext,
    }
    const host = ts.createCompilerHost(options)
    const { getSourceFile, fileExists } = host
    host.fileExists = (name) => name === consumer || fileExists(name)
    host.getSourceFile = (name, target) => (name === consumer ? ts.createSourceFile(name, text, target) : getSourceFile(name, target))
    const messages = ts
      .getPreEmitDiagnostics(ts.createProgram([consumer], options, host))
      .filter(({ file }) => file?.fileName.startsWith(join(root, 'dist')))
      .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))
    expect(messages).toEqual([])
  })
})
