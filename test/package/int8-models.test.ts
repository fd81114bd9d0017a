/** The 8-bit forms of the shipped models, which the build makes: npm run models. */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { describe, expect, test } from 'vitest'
import { LanguageModel } from '../../src/model/language-model.js'
import { quantizeModel } from '../../src/model/quantization/quantize-model.js'
import { openRuntime } from '../support/runtimes.js'

const models = fileURLToPath(new URL('../../models', import.meta.url))
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
const MAX_BYTES = 10.3e6

describe.each([
  ['novels-10m', 'd74b2004dfa44154dd52dafda6902d37d299709c745c163c55aa40150c412388'],
  ['novels-10m-v2', '478cae99faf9e8c68f33934ec87bac2c23730ff43e15f092f670a20706d197fd'],
])('%s-int8', (name, digest) => {
  const folder = join(models, `${name}-int8`)

  test('has the same weights each time, of at most 10.3 MB', async () => {
    const files = await quantizeModel(join(models, name))
    const weights = files.get('model.safetensors')!
    expect(sha256(weights)).toBe(digest)
    expect(weights.length).toBeLessThanOrEqual(MAX_BYTES)
    for (const [file, bytes] of files) expect(sha256(readFileSync(join(folder, file))), file).toBe(sha256(bytes))
  })

  test('is a package that holds what the model needs, and its default export loads it', async () => {
    const packed = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts', folder], { encoding: 'utf8' })
    const [{ name: packageName, files }] = JSON.parse(packed) as [{ name: string; files: { path: string }[] }]
    expect(packageName).toBe(`routed-attention-${name}-int8`)
    expect(files.map(({ path }) => path).sort()).toEqual(
      ['LICENSE', 'README.md', 'config.json', 'index.d.ts', 'index.js', 'model.safetensors', 'package.json', 'tokenizer.json'].sort(),
    )
    const { default: url } = (await import(pathToFileURL(join(folder, 'index.js')).href)) as { default: URL }
    using runtime = openRuntime('baseline')
    const model = await LanguageModel.load(url, { runtime })
    expect(model.config.quantization).toEqual({ activationBits: 7 })
    expect((await model.complete('The old captain', { maxTokens: 4, temperature: 0 })).ids).toHaveLength(4)
  })
})
