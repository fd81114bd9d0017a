import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { encodeInPieces } from '../../src/cli/text-input.js'
import { LanguageModel } from '../../src/index.js'
import { runCommand as run, startCommand as start } from '../support/command.js'
import { novelsFolder, treasureIsland } from '../support/models.js'
import { causalConfig, smallModel, smallModelFiles } from '../support/small-models.js'
import { novels, baseline, runtime, model, temporary } from '../support/cli-model.js'

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
