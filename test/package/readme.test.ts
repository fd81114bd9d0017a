import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import type {
  AppendOptions,
  EncodeOptions,
  ErrorCode,
  EvaluateOptions,
  ForwardOptions,
  GenerateOptions,
  InspectOptions,
  LayerOptions,
  LoadOptions,
  ModelForwardOptions,
  PrefixCacheOptions,
  PrefixReadOptions,
  RuntimeOptions,
} from '../../src/index.js'
import { quotedTable } from '../../bench/lib/documents.mjs'
import { assumedDefaults, parseModelConfig, resolveLayerOptions } from '../../src/model/config/config.js'
import { initialLayerParameters } from '../../src/model/parameters/state-dict.js'
import { modelCases } from '../support/golden.js'
import { modelFiles } from '../support/models.js'
import { seeded } from '../support/seeded-process.js'
import { float32Entry, writeSafetensors } from '../support/write-safetensors.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const read = (document: string) => readFileSync(join(root, document), 'utf8')
const readme = read('README.md')
/** README.md, and the documents that it hands a user on to. */
const documents = ['README.md', 'docs/api.md', 'docs/checkpoints.md', 'docs/serving.md']
/** Inside the package, where `routed-attention` is the package itself. */
mkdirSync(join(root, 'build'), { recursive: true })
const folder = mkdtempSync(join(root, 'build', 'readme-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Code blocks of a language in a document, each with the heading that it stands under. */
function snippets(document: string, language: string): { heading: string; code: string }[] {
  const found: { heading: string; code: string }[] = []
  let heading = ''
  for (const [, title, given, code] of read(document).matchAll(/^#+ (.*)$|^```(\w+)\n([\s\S]*?)^```$/gm)) {
    if (title !== undefined) heading = title
    else if (given === language) found.push({ heading, code: code! })
  }
  return found
}

/** A section of a document, without its heading. */
function section(document: string, heading: string): string {
  return read(document).split(`\n## ${heading}\n`)[1]!.split('\n## ')[0]!
}

/** Rows of the table under a heading, cell by cell, without the backticks. */
function tableUnder(document: string, heading: string): string[][] {
  const lines = section(document, heading)
    .split('\n')
    .filter((line) => line.startsWith('|'))
  return lines.slice(2).map((line) => line.slice(1, -1).split('|').map((cell) => cell.trim().replaceAll('`', ''))) // prettier-ignore
}

/** The files that the snippets name and a reader would have. */
function writeReadersFiles(): void {
  const novels = join(root, 'models/novels-10m')
  const { name } = JSON.parse(readFileSync(join(novels, 'package.json'), 'utf8')) as { name: string }
  mkdirSync(join(folder, 'node_modules'))
  symlinkSync(novels, join(folder, 'node_modules', name), 'junction')
  const options = { dim: 64, numRoutedQueries: 4, numRoutedKeyValues: 8, localAttnWindowSize: 16, numExperts: 1, dimHead: 32, heads: 2 }
  const state = initialLayerParameters(resolveLayerOptions(options), 1)
  const entries = [...state].map(([name, { data, shape }]) => [name, float32Entry([...data], [...shape])] as const)
  // As PyTorch writes it: with metadata, and with a buffer that is no parameter.
  const buffer = { 'local_attn.attn_fn.rel_pos.inv_freq': float32Entry([1, 0.5]) }
  writeFileSync(join(folder, 'layer.safetensors'), writeSafetensors({ ...Object.fromEntries(entries), ...buffer }, { format: 'pt' }))
  mkdirSync(join(folder, 'my-model'))
  for (const [name, bytes] of modelFiles(modelCases()[0]!)) writeFileSync(join(folder, 'my-model', name), bytes)
}

describe('every JavaScript snippet of the README, and of the documents beside it,', () => {
  writeReadersFiles()
  /** What each prints, in their order. */
  const printed: Record<string, RegExp[]> = {
    'README.md': [/^[\s\S]{20,}\n4\d tokens in \d{6} bytes\n$/, /^\[ 10, 60, 512 \]\n$/],
    'docs/api.md': [
      /^[\s\S]{20,}\n\d+\.\d\d bits a token\n$/,
      /^\d+ 4096\n$/,
      /^27\n$/,
      /^(token \d+, block \d, expert \d: of \d+ held tokens, .+ gets most\n)+$/,
      /^[\s\S]{20,}\n(stop|length) 3 20\n$/,
      /^(\[ 10, 60, 512 \]\n){3}$/,
      /^BAD_FILE .*no-such-folder.*config\.json.*\n$/,
    ],
    'docs/checkpoints.md': [/^\[ 1, 100, 64 \]\n$/, /^\[ 5, \d+ \]\n$/],
    'docs/serving.md': [/^200\n8\n$/],
  }

  test.each(documents)('is listed here with what it prints: %s', (document) => {
    expect(snippets(document, 'js')).toHaveLength(printed[document]!.length)
  })

  const scripts = documents.flatMap((document) =>
    snippets(document, 'js').map(({ heading, code }, i) => [document, heading, i, code] as const),
  )
  test.each(scripts)('(%s, %s, %i) runs unchanged', (document, _heading, i, code) => {
    const file = join(folder, `${basename(document, '.md')}-${i}.mjs`)
    writeFileSync(file, code)
    const { status, stdout, stderr } = spawnSync(process.execPath, [...process.execArgv, ...seeded, file], {
      cwd: folder,
      encoding: 'utf8',
    })
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout).toMatch(printed[document]![i]!)
  })
})

describe('the reference', () => {
  test('lists every option of the layer with its default', () => {
    const required = { dim: 8, numRoutedQueries: 1, numRoutedKeyValues: 1, localAttnWindowSize: 4 }
    const resolved: Record<string, unknown> = { ...resolveLayerOptions(required), dropout: 0 }
    const snakeCase = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
    const ours = ['selection', 'causal']
    const listed = tableUnder('docs/api.md', 'Layer options').map(([pytorch, here, value]) => [pytorch!, here!, value!.replaceAll("'", '')])
    const expected = Object.keys({
      dim: 0,
      numRoutedQueries: 0,
      numRoutedKeyValues: 0,
      localAttnWindowSize: 0,
      routedWindowSize: 0,
      numExperts: 0,
      dimHead: 0,
      heads: 0,
      dropout: 0,
      prenorm: 0,
      averageRouted: 0,
      cosineSimRouting: 0,
      cosineSimScale: 0,
      nIters: 0,
      fetchKRatio: 0,
      eps: 0,
      epsInit: 0,
      epsDecay: 0,
      straightThrough: 0,
      useTriton: 0,
      flashAttn: 0,
      selection: 0,
      causal: 0,
    } satisfies Record<keyof LayerOptions, 0>) // prettier-ignore
      .filter((name) => name !== 'useTriton' && name !== 'flashAttn')
      .map((name) => {
        const value = name in required ? 'required' : name === 'routedWindowSize' ? 'localAttnWindowSize' : String(resolved[name])
        return [ours.includes(name) ? '' : snakeCase(name), name, value]
      })
    expected.splice(-2, 0, ['use_triton, flash_attn', 'useTriton, flashAttn', 'none'])
    expect(listed).toEqual(expected)
  })

  test('lists the published Transformer’s defaults next to ours', () => {
    const required = { num_tokens: 8, depth: 1, dim: 8, num_routed_queries: 1, num_routed_key_values: 1, local_attn_window_size: 4 }
    const assumed = assumedDefaults(parseModelConfig(required), required)
    const rows = new Map(tableUnder('docs/checkpoints.md', 'A model').map(([argument, published, here]) => [argument, { published, here }]))
    const beginsWith = (name: string, text = String(assumed[name])) => expect(rows.get(name)!.here).toMatch(new RegExp(`^${text}\\b`))
    for (const name of ['cosine_sim_routing', 'routed_rotary_emb']) {
      expect(rows.get(name)!.published).toBe('true')
      beginsWith(name)
    }
    beginsWith('num_experts')
    expect(rows.get('seq_len')!.here).toContain(`${assumed['max_positions']}, no table`)
    const { dim_head, heads, ff_mult } = assumed
    beginsWith('dim_head, heads, ff_mult', `${dim_head}, ${heads}, ${ff_mult}`)
  })

  test('says next to the checkpoints which of them do not carry over', () => {
    const introduction = read('docs/checkpoints.md').split('\n## ')[0]!
    expect(introduction.replaceAll(/\s+/g, ' ')).toMatch(/two or more experts do not carry over.*With one expert .* agree to rounding/)
    const getting = section('README.md', 'Getting a model').replaceAll(/\s+/g, ' ')
    expect(getting).toMatch(/docs\/checkpoints\.md.*two or more experts do not carry over/)
  })

  test('lists every error code', () => {
    const codes = Object.keys({
      BAD_FILE: 0, BAD_WEIGHTS: 0, BAD_CONFIG: 0, BAD_SHAPE: 0, BAD_ARGUMENT: 0, NETWORK: 0, NUMERIC: 0, OUT_OF_MEMORY: 0, DISPOSED: 0, UNSUPPORTED: 0, WORKER_FAILED: 0,
      DEVICE_LOST: 0,
    } satisfies Record<ErrorCode, 0>) // prettier-ignore
    expect(tableUnder('docs/api.md', 'Errors').map(([code]) => code)).toEqual(codes)
  })

  test('names every public function and method in its table', () => {
    const table = tableUnder('docs/api.md', 'Overview').map(([call]) => call).join(' ') // prettier-ignore
    for (const name of [
      'createRuntime',
      'loadStateDict',
      'layer.forward',
      'model.forward',
      'evaluate',
      'generate',
      'complete',
      'session.generate',
      'createSession',
      'restoreSession',
    ]) {
      expect(table).toContain(name)
    }
    for (const name of [
      'append',
      'inspect',
      'save',
      'clone',
      'position',
      'byteLength',
      'encode',
      'decode',
      'dispose',
      'randn',
      'zeros',
      'LanguageModel.load',
      'cache.open',
      'remember',
      'clear',
      'size',
    ]) {
      expect(table).toContain(name)
    }
  })

  test('names every option of every call', () => {
    const options = {
      createRuntime: { device: 0, threads: 0, simd: 0, revectorize: 0, wasm: 0, worker: 0, isolateCallers: 0, signal: 0 } satisfies Record<keyof RuntimeOptions, 0>,
      'layer.forward': { rotaryEmb: 0, numRoutedQueries: 0, numRoutedKeyValues: 0, trace: 0, signal: 0 } satisfies Record<keyof ForwardOptions, 0>,
      'LanguageModel.load': {
        runtime: 0, workload: 0, tokenizer: 0, quantize: 0, onProgress: 0, signal: 0, fetch: 0, cache: 0, cacheVersion: 0, integrity: 0,
      } satisfies Record<keyof LoadOptions, 0>,
      'model.forward': { signal: 0 } satisfies Record<keyof ModelForwardOptions, 0>,
      'model.evaluate': { chunk: 0, onBits: 0, onProgress: 0, signal: 0 } satisfies Record<keyof EvaluateOptions, 0>,
      'new PrefixCache': { maxBytes: 0 } satisfies Record<keyof PrefixCacheOptions, 0>,
      'cache.read': { signal: 0, onProgress: 0, share: 0 } satisfies Record<keyof PrefixReadOptions, 0>,
      'session.append': { bits: 0, signal: 0 } satisfies Record<keyof AppendOptions, 0>,
      'session.inspect': { signal: 0 } satisfies Record<keyof InspectOptions, 0>,
      'model.tokenizer.encode': { allowSpecial: 0 } satisfies Record<keyof EncodeOptions, 0>,
    } // prettier-ignore
    const calls = tableUnder('docs/api.md', 'Overview').map(([call]) => call!)
    for (const [call, names] of Object.entries(options)) {
      const [, listed] = /\{ (.*?) \}/.exec(calls.find((cell) => cell.replace(/^await /, '').startsWith(`${call}(`))!)!
      expect([call, listed!.split(', ').sort()]).toEqual([call, Object.keys(names).sort()])
    }

    const generation = Object.keys({
      maxTokens: 0, temperature: 0, topK: 0, topP: 0, minP: 0, seed: 0, repetitionPenalty: 0, frequencyPenalty: 0, presencePenalty: 0, logitBias: 0,
      logitsProcessor: 0, stop: 0, stopTokenIds: 0, ignoreEos: 0, earlierIds: 0, writtenIds: 0, topLogprobs: 0, signal: 0, onProgress: 0,
    } satisfies Record<keyof GenerateOptions, 0>) // prettier-ignore
    const text = section('docs/api.md', 'Generation')
    expect(generation.filter((name) => !new RegExp(`\\b${name}\\b`).test(text))).toEqual([])
  })
})

describe('the README', () => {
  test('is short: at most 200 lines of 120 characters, and 14 kB', () => {
    const lines = readme.trimEnd().split('\n')
    expect(lines.length).toBeLessThanOrEqual(200)
    expect(lines.filter((line) => line.length > 120)).toEqual([])
    expect(Buffer.byteLength(readme)).toBeLessThanOrEqual(14_000)
  })

  test('only names calls in its table that the reference has', () => {
    const named = tableUnder('README.md', 'API').flatMap(([calls]) => [...calls!.matchAll(/(\w+)\(/g)].map(([, name]) => name!))
    const reference = tableUnder('docs/api.md', 'Overview').map(([calls]) => calls).join(' ') // prettier-ignore
    expect(named.length).toBeGreaterThan(10)
    expect(named.filter((name) => !new RegExp(`\\b${name}\\(`).test(reference))).toEqual([])
  })

  test('quotes its figures from docs/benchmarks.md', () => {
    expect(section('README.md', 'Speed')).toContain(`<!-- bench -->\n\n${quotedTable(read('docs/benchmarks.md'))}\n<!-- /bench -->`)
  })

  test('and the other documents link to files that exist, and to nothing outside the repository', () => {
    const links = documents.flatMap((document) =>
      [...read(document).matchAll(/\]\(([^)#]*)[^)]*\)/g)].map(([, file]) => (file === '' ? document : join(dirname(document), file!))),
    )
    expect(links.length).toBeGreaterThan(20)
    expect(links.filter((file) => !existsSync(join(root, file)))).toEqual([])
  })

  test('links only to files that are in the tarball, and so do the other documents there that are for users', () => {
    const listing = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: root, encoding: 'utf8' })
    const [tarball] = JSON.parse(listing) as { files: { path: string }[] }[]
    const packed = new Set(tarball!.files.map(({ path }) => path))
    const lost = (document: string) => {
      // pages on platforms also cite their makers' documents; screenshots are as large as half the package, and no link
      const linked = [...read(document).matchAll(/\]\((?!https:)([^)#]+)[^)]*\)/g)]
        .map(([, file]) => posix.join(posix.dirname(document), file!))
        .filter((file) => !file.endsWith('.webp'))
      if (document === 'README.md') expect(linked.length).toBeGreaterThan(20)
      return linked.filter((file) => !packed.has(file)).map((file) => `${document}: ${file}`)
    }
    // these speak of the repository's files, which whoever has it can follow
    const ofRepository = ['ARCHITECTURE.md', 'CONTRIBUTING.md', 'docs/kernel-pitfalls.md']
    expect([...packed].filter((file) => /^docs\/(training-log|measurements)/.test(file))).toEqual([])
    const forUsers = [...packed].filter((file) => file.endsWith('.md') && !ofRepository.includes(file))
    expect([...packed]).toEqual(expect.arrayContaining(ofRepository))
    expect(forUsers).toEqual(expect.arrayContaining(documents))
    expect(forUsers.flatMap(lost)).toEqual([])
  })

  test('starts with commands that package.json defines', () => {
    const { scripts, engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Record<string, Record<string, string>>
    expect(readme).toMatch(/^    npm ci && npm start( .*)?$[\s\S]*^    npm ci && npm test( .*)?$/m)
    expect(Object.keys(scripts!)).toEqual(expect.arrayContaining(['start', 'test']))
    expect(readme).toContain(`Node ${engines!['node']!.replace('>=', '')} or newer`)
  })
})
