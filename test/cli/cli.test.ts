import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { StatusLine } from '../../src/cli/status-line.js'
import { encodeInPieces } from '../../src/cli/text-input.js'
import { createRuntime, type GenerateOptions, LanguageModel, type Runtime } from '../../src/index.js'
import { runCommand as run, startCommand as start, startOnTerminal } from '../support/command.js'
import { novelsFolder, treasureIsland } from '../support/models.js'
import { recitingModelFiles } from '../support/reciting-model.js'
import { causalConfig, smallModel, smallModelFiles } from '../support/small-models.js'

// Processes start slowly on a busy machine.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const novels = fileURLToPath(novelsFolder).replace(/[/\\]$/, '')
/** The same arithmetic on both sides, whatever flags this process runs with. */
const baseline = ['--simd', 'baseline']

let runtime: Runtime
let model: LanguageModel
const temporary = mkdtempSync(join(tmpdir(), 'routed-attention-cli-'))

beforeAll(async () => {
  runtime = await createRuntime({ simd: 'baseline' })
  model = await LanguageModel.load(novelsFolder, { runtime })
})

afterAll(async () => {
  rmSync(temporary, { recursive: true, force: true })
  await runtime.dispose()
})

async function generated(prompt: string, options: GenerateOptions): Promise<string> {
  let text = ''
  for await (const token of model.generate(prompt, options)) text += token.text
  return text
}

describe('help', () => {
  test('of the program lists every command', async () => {
    const { code, stdout, stderr } = await run(['--help'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    for (const name of ['generate', 'serve', 'eval', 'info', 'bench', 'tokenize', 'quantize', '--help', '--version'])
      expect(stdout).toContain(`\n  ${name} `)
  })

  const running = ['threads', 'simd', 'revectorize', 'device', 'json', 'help']
  test.each([
    [
      'generate',
      [
        ...[
          'prompt',
          'no-special-tokens',
          'max-tokens',
          'temperature',
          'top-k',
          'top-p',
          'min-p',
          'seed',
          'logit-bias',
          'top-logprobs',
          'echo',
        ],
        ...[
          'repetition-penalty',
          'frequency-penalty',
          'presence-penalty',
          'stop',
          'stop-token-id',
          'ignore-eos',
          'bytes',
          'cache',
          'quantize',
          ...running,
        ],
      ],
    ],
    [
      'serve',
      [
        ...['host', 'port', 'name', 'api-key', 'origin', 'store', 'requests-per-minute', 'client-header', 'max-body-bytes'],
        ...['max-prompt-tokens', 'max-tokens', 'max-choices', 'max-concurrent', 'max-queue', 'max-memory', 'max-cache-bytes'],
        ...[
          'max-conversation-tokens',
          'max-import-bytes',
          'max-idle-memory',
          'stall-timeout',
          'shutdown-timeout',
          'log',
          'bytes',
          'cache',
          'quantize',
        ],
        ...running.filter((name) => name !== 'json'),
      ],
    ],
    ['eval', ['file', 'chunk', 'bytes', 'cache', 'quantize', ...running]],
    ['info', ['bytes', 'cache', 'quantize', ...running]],
    ['bench', ['prefill', 'decode', 'rounds', 'bytes', 'cache', 'quantize', ...running]],
    ['tokenize', ['plain', 'help']],
    ['quantize', ['activation-bits', 'report', 'threads', 'simd', 'bytes', 'cache', 'help']],
  ])('of %s lists every option, and is printed whatever the other arguments', async (name, options) => {
    const { code, stdout } = await run([name, '--nonsense', '--help'])
    expect(code).toBe(0)
    const listed = [...stdout.matchAll(/^ {2}--([a-z-]+)/gm)].map(([, option]) => option)
    expect(listed.sort()).toEqual(options.sort())
  })

  test('--version prints the version of the package', async () => {
    const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
    expect(await run(['--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' })
  })
})

describe('generate', () => {
  const sampling = ['--max-tokens', '12', '--temperature', '0.9', '--top-k', '50', '--top-p', '0.95', '--seed', '7']
  const options = { maxTokens: 12, temperature: 0.9, topK: 50, topP: 0.95, seed: 7 }

  test('writes what the API generates for the same seed, every time, and reports the hardware used', async () => {
    const args = ['generate', novels, '--prompt', 'The old captain', ...sampling, ...baseline]
    const [first, second] = [await run(args), await run(args)]
    expect(first.code).toBe(0)
    expect(first.stdout).toBe(`${await generated('The old captain', options)}\n`)
    expect(second.stdout).toBe(first.stdout)
    expect(first.stderr).toMatch(
      /^3 prompt tokens at [\d.,]+ tokens\/s, 12 generated at [\d.,]+ tokens\/s; seed 7; wasm, baseline SIMD, \d+ threads?\n$/,
    )
  })

  test('accepts negative numbers', async () => {
    const args = ['generate', novels, '--prompt', 'He said', '--max-tokens', '1', ...baseline]
    expect((await run([...args, '--seed', '-3'])).stderr).toContain('; seed -3;')
  })

  test('reads the prompt from standard input, without the trailing line break, however the bytes arrive', async () => {
    const prompt = 'The café’s 老 captain'
    const bytes = new TextEncoder().encode(`${prompt}\n`)
    const { child, ending } = start('generate', novels, '-', ...sampling, ...baseline)
    const cut = new TextEncoder().encode('The caf').length + 1 // inside a character
    child.stdin.write(bytes.subarray(0, cut))
    await new Promise((resolve) => setTimeout(resolve, 50))
    child.stdin.end(bytes.subarray(cut))
    const piped = run(['generate', novels, ...sampling, ...baseline], bytes)
    const expected = `${await generated(prompt, options)}\n`
    expect((await ending).stdout).toBe(expected)
    expect((await piped).stdout).toBe(expected)
  })

  test('stops before a stop text, and writes the prompt first on request', async () => {
    const greedy = ['--temperature', '0', '--max-tokens', '40', ...baseline]
    const stops = { temperature: 0, maxTokens: 40, stop: [' the', ','] }
    const { stdout } = await run(['generate', novels, '--echo', '--prompt', 'He said', '--stop', ' the', '--stop', ',', ...greedy])
    expect(stdout).toBe(`He said${await generated('He said', stops)}\n`)
  })

  test('with --json writes one line per token and a summary, nothing else', async () => {
    const { code, stdout, stderr } = await run(['generate', novels, '--prompt', 'The old captain', '--json', ...sampling, ...baseline])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const lines = stdout.trimEnd().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>) // prettier-ignore
    const expected: unknown[] = []
    for await (const token of model.generate('The old captain', options)) expected.push({ type: 'token', ...token })
    expect(lines.slice(0, -1)).toEqual(expected)
    expect(lines.at(-1)).toMatchObject({ type: 'end', interrupted: false, promptTokens: 3, tokens: 12, seed: 7, runtime: { device: 'wasm', simd: 'baseline' } }) // prettier-ignore
  })

  test('passes every sampling option to the API', async () => {
    const { stdout } = await run([
      ...['generate', novels, '--prompt', 'The old captain', '--max-tokens', '20', '--seed', '7', '--json', ...baseline],
      ...['--temperature', '0.9', '--top-k', '50', '--top-p', '0.95', '--min-p', '0.02', '--top-logprobs', '2', '--logit-bias', '14=1.5'],
      ...['--logit-bias', '12=-Infinity', '--repetition-penalty', '1.2', '--frequency-penalty', '0.3', '--presence-penalty', '-0.2'],
    ])
    const penalties = { repetitionPenalty: 1.2, frequencyPenalty: 0.3, presencePenalty: -0.2, logitBias: { 14: 1.5, 12: -Infinity } }
    const everything = { maxTokens: 20, seed: 7, temperature: 0.9, topK: 50, topP: 0.95, minP: 0.02, topLogprobs: 2, ...penalties }
    const expected: unknown[] = []
    for await (const token of model.generate('The old captain', everything)) expected.push({ type: 'token', ...token })
    const lines = stdout.trimEnd().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>) // prettier-ignore
    expect(lines.slice(0, -1)).toEqual(expected)
    expect(lines.at(-1)).toMatchObject({ type: 'end', finishReason: 'length', promptTokens: 3, promptTokensRead: 3, tokens: 20 })
  })

  test('stops at a stop token and at the end of text, unless told to continue', async () => {
    const folder = join(temporary, 'reciting')
    mkdirSync(folder)
    const pieces = ['one', ' two', '<end>', ' three', ' four']
    const files = recitingModelFiles(pieces)
    const config = JSON.parse(new TextDecoder().decode(files.get('config.json'))) as object
    for (const [name, bytes] of files.set('config.json', new TextEncoder().encode(JSON.stringify({ ...config, eos_token_id: 3 })))) {
      writeFileSync(join(folder, name), bytes)
    }
    const recite = ['generate', folder, '--prompt', 'a', '--temperature', '0', '--max-tokens', '5']
    expect(await run(recite)).toMatchObject({ code: 0, stdout: 'one two\n', stderr: expect.stringContaining('3 generated') as string })
    expect((await run(recite)).stderr).toContain(', up to a stop; seed')
    expect((await run([...recite, '--ignore-eos'])).stdout).toBe('one two<end> three four\n')
    expect((await run([...recite, '--ignore-eos', '--stop-token-id', '5'])).stdout).toBe('one two<end> three\n')
    const { stdout } = await run([...recite, '--stop-token-id', '2', '--json'])
    const lines = stdout.trimEnd().split('\n').map((line) => JSON.parse(line) as object) // prettier-ignore
    expect(lines).toMatchObject([
      { id: 1, text: 'one', finishReason: null },
      { id: 2, text: '', finishReason: 'stop' },
      { type: 'end', finishReason: 'stop' },
    ])
  })

  test('reads special tokens of a prompt as plain text on request', async () => {
    const args = ['generate', novels, '--prompt', '<|endoftext|>', '--max-tokens', '1', '--json']
    const promptTokens = async (...more: string[]) => {
      const { stdout } = await run([...args, ...more])
      return (JSON.parse(stdout.trimEnd().split('\n').at(-1)) as { promptTokens: number }).promptTokens
    }
    expect(await promptTokens()).toBe(1)
    expect(await promptTokens('--no-special-tokens')).toBe(model.tokenizer.encode('<|endoftext|>', { allowSpecial: false }).length)
  })

  test('loads a model from a URL, and caches its files in the folder given as --cache', async () => {
    const asked: string[] = []
    const server = createServer((request, response) => {
      asked.push(request.url!)
      try {
        response.end(readFileSync(join(novels, request.url!.replace('/model/', ''))))
      } catch {
        response.writeHead(404).end()
      }
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/model`
    const args = [
      'generate',
      url,
      '--cache',
      join(temporary, 'cache'),
      '--prompt',
      'He said',
      '--temperature',
      '0',
      '--max-tokens',
      '3',
      ...baseline,
    ]
    try {
      const expected = `${await generated('He said', { temperature: 0, maxTokens: 3 })}\n`
      expect((await run(args)).stdout).toBe(expected)
      expect(asked).toContain('/model/model-00002-of-00002.safetensors')
      asked.length = 0
      expect((await run(args)).stdout).toBe(expected)
      expect(asked.filter((path) => path.includes('-of-'))).toEqual([])
    } finally {
      server.close()
    }
  })

  test('interrupted by Ctrl-C prints the summary and exits with code 130', async () => {
    const { child, ending } = start('generate', novels, '--prompt', 'The old captain', '--max-tokens', '1000000', ...baseline)
    child.stdout.once('data', () => child.kill('SIGINT'))
    const { code, stdout, stderr } = await ending
    expect(code).toBe(130)
    expect(stdout).toMatch(/\n$/)
    expect(stderr).toMatch(/^3 prompt tokens at .+ generated.*; seed \d+; wasm, baseline SIMD, \d+ threads?\n$/)
  })

  test('reports progress through the prompt, and after Ctrl-C how much of it was read', async () => {
    const book = readFileSync(new URL('treasure-island.txt', novelsFolder))
    const { child, ending } = startOnTerminal('generate', novels, '--seed', '7', '--echo', ...baseline)
    child.stdin.end(book)
    child.stderr.on('data', (text: string) => text.includes('reading the prompt') && child.kill('SIGINT'))
    const { code, stdout, stderr } = await ending
    expect({ code, stdout }).toEqual({ code: 130, stdout: '' })
    expect(stderr).toMatch(/\r\x1b\[Kreading the prompt: [\d,]+ of [\d,]+ tokens, [\d,.]+ tokens\/s, \d+ .+ left/)
    const last = stderr.slice(stderr.lastIndexOf('\x1b[K') + 3)
    const [, read, total] = /^([\d,]+) of ([\d,]+) prompt tokens read, 0 generated; seed 7; wasm, .+\n$/.exec(last)!
    expect(Number(read!.replaceAll(',', ''))).toBeGreaterThan(0)
    expect(Number(total!.replaceAll(',', ''))).toBe(model.tokenizer.encode(book.toString().replace(/\n$/, '')).length)
  })

  test('reports as JSON how much of the prompt was read', async () => {
    const book = readFileSync(new URL('treasure-island.txt', novelsFolder))
    const { child, ending } = startOnTerminal('generate', novels, '--json', ...baseline)
    child.stdin.end(book)
    child.stderr.on('data', (text: string) => text.includes('reading the prompt') && child.kill('SIGINT'))
    const { code, stdout } = await ending
    expect(code).toBe(130)
    const end = JSON.parse(stdout) as { promptTokens: number; promptTokensRead: number }
    expect(end).toMatchObject({ type: 'end', interrupted: true, finishReason: null, tokens: 0, tokensPerSecond: null })
    expect(end.promptTokensRead).toBeGreaterThan(0)
    expect(end.promptTokensRead).toBeLessThan(end.promptTokens)
  })

  test('ends quietly when its output pipe is closed', async () => {
    const { child, ending } = start('generate', novels, '--prompt', 'The old captain', '--max-tokens', '1000000', ...baseline)
    child.stdout.once('data', () => child.stdout.destroy())
    expect(await ending).toMatchObject({ code: 0, stderr: '' })
  })
})

describe('an invalid command line', () => {
  const short = join(temporary, 'short')
  mkdirSync(short)
  for (const [name, bytes] of smallModelFiles(smallModel({ ...causalConfig, max_positions: 64 }))) writeFileSync(join(short, name), bytes)

  test.each([
    ['no command', [], /no command/],
    ['an unknown command', ['sing'], /unknown command "sing".*generate/],
    ['no model', ['generate', '--prompt', 'a'], /no model/],
    ['more than a model', ['info', novels, 'more'], /unexpected argument "more"/],
    ['an unknown option', ['eval', novels, '--chunks', '3'], /--chunks/],
    [
      'an unknown option that is like one',
      ['generate', novels, '--tempurature', '1'],
      /unknown option --tempurature \(did you mean --temperature\?\)/,
    ],
    ['an option of one letter', ['generate', novels, '-p', 'a'], /unknown option -p\n/],
    ['an option that needs no opposite', ['generate', novels, '--no-echo'], /unknown option --no-echo/],
    ['an option in the place of a value', ['generate', novels, '--prompt', '--echo'], /--prompt lacks its value.*--prompt=--echo/],
    ['an option without its value', ['generate', novels, '--prompt'], /--prompt/],
    ['a value where there is none', ['generate', novels, '--json=yes', '--prompt', 'a'], /--json takes no value; got "yes"/],
    ['no number', ['generate', novels, '--prompt', 'a', '--max-tokens', 'many'], /--max-tokens takes an integer from 0; got "many"/],
    ['an empty number', ['generate', novels, '--prompt', 'a', '--top-k', ''], /--top-k/],
    ['a number out of range', ['generate', novels, '--prompt', 'a', '--top-p', '2'], /--top-p takes a number above 0 and up to 1; got "2"/],
    ['more threads than there may be', ['info', '--threads', '5000'], /--threads takes an integer from 1 to 1024, or auto; got "5000"/],
    ['no threads', ['info', '--threads', '0'], /--threads takes an integer from 1 to 1024, or auto; got "0"/],
    ['an empty stop text', ['generate', novels, '--prompt', 'a', '--stop', 'b', '--stop', ''], /--stop takes a non-empty text/],
    ['an empty name of a file', ['eval', novels, '--file', ''], /--file takes a non-empty text/],
    ['an empty name of a folder', ['info', novels, '--cache', ''], /--cache takes a non-empty text/],
    [
      'a bias without a token',
      ['generate', novels, '--prompt', 'a', '--logit-bias', '5'],
      /--logit-bias takes a token id and a number.*; got "5"/,
    ],
    ['a bias that is no number', ['generate', novels, '--prompt', 'a', '--logit-bias', '5=much'], /--logit-bias.*got "5=much"/],
    ['a bias without end', ['generate', novels, '--prompt', 'a', '--logit-bias', '5=Infinity'], /--logit-bias.*got "5=Infinity"/],
    [
      'a bias of a token that there is not',
      ['generate', novels, '--prompt', 'a', '--logit-bias', '4096=1'],
      /--logit-bias.*0 to 4095; got 4096/,
    ],
    [
      'a stop token that there is not',
      ['generate', novels, '--prompt', 'a', '--stop-token-id', '4096'],
      /--stop-token-id.*0 to 4095; got 4096/,
    ],
    ['a stop token that is no id', ['generate', novels, '--prompt', 'a', '--stop-token-id', '-1'], /--stop-token-id/],
    [
      'a penalty of nothing',
      ['generate', novels, '--prompt', 'a', '--repetition-penalty', '0'],
      /--repetition-penalty takes a number above 0/,
    ],
    ['too high a share', ['generate', novels, '--prompt', 'a', '--min-p', '1.5'], /--min-p takes a number from 0 to 1/],
    ['an unknown choice', ['info', '--simd', 'wide'], /--simd takes auto, baseline, relaxed; got "wide"/],
    ['an empty prompt', ['generate', novels, '--prompt', ''], /prompt is empty/],
    ['an empty standard input', ['generate', novels], /prompt is empty/],
    ['two prompts', ['generate', novels, '-', '--prompt', 'a'], /not both/],
    ['two texts', ['eval', novels, '-', '--file', 'a'], /not both/],
    ['two files', ['eval', novels, 'a', 'b'], /unexpected argument "b"/],
    ['a file whose name is empty', ['eval', novels, ''], /empty name/],
    ['half a URL', ['info', 'http://'], /neither a folder nor a URL/],
    ['a chunk that the model cannot read', ['eval', short, '-', '--chunk', '65'], /--chunk is 65, more than the 64 positions/],
    [
      'more tokens than the model can read',
      ['bench', short, '--prefill', '60', '--decode', '5'],
      /add up to 65, more than the 64 positions/,
    ],
  ])('(%s) gets a plain message and exit code 2', async (_what, args, message) => {
    const { code, stdout, stderr } = await run(args)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(message)
    expect(stderr).toMatch(/\nTry: routed-attention .*--help\n$/)
  })
})

describe('a failure of a command', () => {
  test.each([
    ['a folder that is not there', ['info', join(temporary, 'none')], /config\.json.*\(BAD_FILE\)/],
    ['a folder without a model', ['generate', temporary, '--prompt', 'a'], /config\.json.*\(BAD_FILE\)/],
    ['a URL of an unknown kind', ['info', 'ftp://example.invalid/model'], /ftp:.*\(BAD_ARGUMENT\)/],
    ['a text that is not there', ['eval', novels, '--file', join(temporary, 'none.txt')], /none\.txt.*\(BAD_FILE\)/],
  ])('(%s) gets a plain message, exit code 1 and no stack trace', async (_what, args, message) => {
    const { code, stdout, stderr } = await run(args)
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(message)
    expect(stderr).toMatch(/^routed-attention: .*\n$/)
  })

  test('is reported for bytes that are not UTF-8, and for a text of fewer than two tokens', async () => {
    expect(await run(['eval', novels], Uint8Array.of(0x61, 0xff, 0x62))).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/not UTF-8.*BAD_FILE/),
    })
    expect(await run(['eval', novels, '-'], 'a')).toMatchObject({ code: 1, stderr: expect.stringMatching(/1 token;.*BAD_ARGUMENT/) })
  })
})

describe('eval', () => {
  const text = readFileSync(new URL('treasure-island.txt', novelsFolder), 'utf8').slice(10_000, 12_000)

  test('prints the bits per token that the API computes, for a file and for standard input', async () => {
    const file = join(temporary, 'text.txt')
    writeFileSync(file, text)
    const { bitsPerToken, tokens } = await model.evaluate(model.tokenizer.encode(text), { chunk: 100 })
    const bytes = Buffer.byteLength(text)
    const fromFile = await run(['eval', novels, '--file', file, '--chunk', '100', '--json', ...baseline])
    expect(fromFile).toMatchObject({ code: 0, stderr: '' })
    expect(JSON.parse(fromFile.stdout)).toEqual({
      bitsPerToken,
      bitsPerByte: (bitsPerToken * tokens) / bytes,
      tokens,
      bytes,
      chunk: 100,
      seconds: expect.any(Number) as number,
      runtime: expect.objectContaining({ simd: 'baseline' }) as object,
    })
    const named = await run(['eval', novels, file, '--chunk', '100', ...baseline])
    const piped = await run(['eval', novels, '--chunk', '100', ...baseline], text)
    expect(named).toMatchObject({ code: 0, stderr: '' })
    expect(named.stdout).toContain(`bits per token    ${bitsPerToken.toFixed(5)}\n`)
    expect(piped).toMatchObject({ code: 0, stderr: '' })
    expect(piped.stdout).toContain(`bits per token    ${bitsPerToken.toFixed(5)}\n`)
  })

  test('encodes a long text in the same pieces as for the published figure', async () => {
    const book = readFileSync(new URL('treasure-island.txt', novelsFolder), 'utf8')
    const shares: number[] = []
    const ids = await encodeInPieces(model, book, new AbortController().signal, (share) => shares.push(share))
    expect(ids).toEqual(treasureIsland(model))
    expect(shares).toHaveLength(Math.ceil(book.length / 50_000))
    expect(shares.at(-1)).toBe(1)
  })

  test('splits no character in two', async () => {
    const pieces: string[] = []
    const listener = { tokenizer: { encode: (piece: string) => (pieces.push(piece), []) } } as unknown as LanguageModel
    const long = `a${'😀'.repeat(60_000)}`
    await encodeInPieces(listener, long, new AbortController().signal, () => {})
    expect(pieces.map((piece) => [...piece].length)).toEqual([50_000, 10_001])
    expect(pieces.join('')).toBe(long)
  })

  test('interrupted by Ctrl-C prints nothing and exits with code 130', async () => {
    const { child, ending } = start('eval', novels, '-')
    // More than pipes hold: written once the command reads, which then waits for the rest.
    child.stdin.write(text.repeat(2000), () => child.kill('SIGINT'))
    expect(await ending).toEqual({ code: 130, stdout: '', stderr: '' })
  })
})

describe('info', () => {
  test('shows a model’s config and size, what it runs on, and what is unavailable', async () => {
    const { code, stdout } = await run(['info', novels, '--json', ...baseline])
    expect(code).toBe(0)
    const { model: told, runtime } = JSON.parse(stdout) as Record<string, Record<string, unknown>>
    expect(told).toMatchObject({ numParameters: 9_999_616, hasTokenizer: true, config: JSON.parse(JSON.stringify(model.config)) as object })
    expect(told!['sessionBytes']).toBe(model.createSession().byteLength)
    expect(runtime).toMatchObject({ simd: 'baseline', unavailable: { relaxed: 'baseline SIMD was asked for' } })

    expect(told!['assumed']).toEqual(model.assumed)

    const words = (await run(['info', novels, ...baseline])).stdout
    expect(words).toMatch(/^assumed +cosine_sim_scale 8, n_iters 20, .*straight_through true$/m)
    expect(words).toMatch(/^parameters +9,999,616$/m)
    expect(words).toMatch(/^causal +true$/m)
    expect(words).toMatch(/^runs on +wasm, baseline SIMD, \d+ threads?$/m)
    expect(words).toMatch(/^not relaxed +baseline SIMD was asked for$/m)
  })

  test('recognizes a model of bytes, as the other commands do', async () => {
    const folder = join(temporary, 'bytes')
    mkdirSync(folder)
    for (const [name, bytes] of smallModelFiles(smallModel({ ...causalConfig, num_tokens: 256 }))) writeFileSync(join(folder, name), bytes)
    expect((await run(['info', folder])).stdout).toMatch(/^tokenizer +none: token ids only$/m)
    expect((await run(['info', folder, '--bytes'])).stdout).toMatch(/^tokenizer +bytes$/m)
    const evaluated = JSON.parse((await run(['eval', folder, '--bytes', '--json'], 'déjà vu')).stdout) as object
    expect(evaluated).toMatchObject({ tokens: 8, bytes: 9 })
    const args = ['generate', folder, '--bytes', '--prompt', 'déjà', '--max-tokens', '9', '--temperature', '0', '--json', ...baseline]
    const lines = (await run(args)).stdout.trimEnd().split('\n').map((line) => JSON.parse(line) as { id: number; text: string }) // prettier-ignore
    const bytes = await LanguageModel.load(folder, { runtime, tokenizer: 'bytes' })
    const expected: unknown[] = []
    for await (const { id, text } of bytes.generate('déjà', { maxTokens: 9, temperature: 0 })) expected.push({ id, text })
    expect(lines.slice(0, -1).map(({ id, text }) => ({ id, text }))).toEqual(expected)
    expect(lines.at(-1)).toMatchObject({ promptTokens: 6, tokens: 9 })
    bytes.dispose()
  })

  test('says why there is no tokenizer', async () => {
    const files = smallModelFiles(smallModel(causalConfig))
    const server = createServer((request, response) => {
      const bytes = files.get(request.url!.slice(1))
      if (request.url === '/tokenizer.json') response.writeHead(403).end()
      else if (bytes === undefined) response.writeHead(404).end()
      else response.end(bytes)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
    try {
      expect((await run(['info', url])).stdout).toMatch(/^tokenizer +none: token ids only\nnot tokenizer\.json +.*403/m)
      const { model: told } = JSON.parse((await run(['info', url, '--json'])).stdout) as { model: { unavailable: object } }
      expect(told.unavailable).toEqual({ 'tokenizer.json': expect.stringContaining('403') as string })
    } finally {
      server.close()
    }
  })

  test('without a model describes the machine', async () => {
    const { code, stdout } = await run(['info', '--json', '--threads', '1'])
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toEqual({ runtime: expect.objectContaining({ device: 'wasm', threads: 1 }) as object })
  })
})

test('bench measures prefill and decoding in rounds and gives their medians', async () => {
  const { code, stdout } = await run(['bench', novels, '--prefill', '40', '--decode', '4', '--rounds', '3', '--json'])
  expect(code).toBe(0)
  const result = JSON.parse(stdout) as Record<'prefill' | 'decode', { tokens: number; tokensPerSecond: number; rounds: number[] }>
  for (const [name, tokens] of [
    ['prefill', 40],
    ['decode', 4],
  ] as const) {
    // prettier-ignore
    expect(result[name]).toMatchObject({ tokens, tokensPerSecond: [...result[name].rounds].sort((a, b) => a - b)[1] })
    expect(result[name].rounds).toHaveLength(3)
  }
})

describe('the status line', () => {
  function screen(isTTY: boolean) {
    const written: string[] = []
    return { written, isTTY, columns: 20, write: (text: string) => written.push(text) }
  }

  test('stays silent where there is no terminal', () => {
    const file = screen(false)
    let now = 0
    const line = new StatusLine(file, () => now)
    for (now = 0; now < 5000; now += 50) line.show(() => 'working')
    line.clear()
    expect(file.written).toEqual([])
  })

  test('shows what takes longer than half a second, changes ten times a second at most, and clears itself', () => {
    const terminal = screen(true)
    let now = 0
    const line = new StatusLine(terminal, () => now)
    const shown = (at: number) => ((now = at), line.show(() => `at ${at}, and so on for long`))
    for (const at of [0, 400, 500, 550, 600]) shown(at)
    expect(terminal.written).toEqual(['\r\x1b[Kat 500, and so on f', '\r\x1b[Kat 600, and so on f'])
    line.clear()
    expect(terminal.written.slice(2)).toEqual(['\r\x1b[K'])
    line.clear()
    shown(700) // another piece of work: silent again for half a second
    line.clear()
    expect(terminal.written).toHaveLength(3)
  })
})
