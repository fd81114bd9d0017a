import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type GenerateOptions } from '../../src/index.js'
import { runCommand as run, startCommand as start, startOnTerminal } from '../support/command.js'
import { novelsFolder } from '../support/models.js'
import { recitingModelFiles } from '../support/reciting-model.js'
import { novels, baseline, model, temporary } from '../support/cli-model.js'

async function generated(prompt: string, options: GenerateOptions): Promise<string> {
  let text = ''
  for await (const token of model.generate(prompt, options)) text += token.text
  return text
}

/** Kills a command at its first output of this kind: a second signal would end it at once. */
function interruptAt({ child }: ReturnType<typeof start>, text: string): void {
  const look = (output: string) => {
    if (!output.includes(text)) return
    child.stderr.off('data', look)
    child.kill('SIGINT')
  }
  child.stderr.on('data', look)
}

describe('generate', () => {
  /** Ends when it is told to, and not with the text. */
  const endless = ['--max-tokens', '1000000', '--ignore-eos']
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
    const { child, ending } = start('generate', novels, '--prompt', 'The old captain', ...endless, ...baseline)
    child.stdout.once('data', () => child.kill('SIGINT'))
    const { code, stdout, stderr } = await ending
    expect(code).toBe(130)
    expect(stdout).toMatch(/\n$/)
    expect(stderr).toMatch(/^3 prompt tokens at .+ generated.*; seed \d+; wasm, baseline SIMD, \d+ threads?\n$/)
  })

  test('reports progress through the prompt, and after Ctrl-C how much of it was read', async () => {
    const book = readFileSync(new URL('treasure-island.txt', novelsFolder))
    const command = startOnTerminal('generate', novels, '--seed', '7', '--echo', ...baseline)
    interruptAt(command, 'reading the prompt')
    command.child.stdin.end(book)
    const { code, stdout, stderr } = await command.ending
    expect({ code, stdout }).toEqual({ code: 130, stdout: '' })
    expect(stderr).toMatch(/\r\x1b\[Kreading the prompt: [\d,]+ of [\d,]+ tokens, [\d,.]+ tokens\/s, \d+ .+ left/)
    const last = stderr.slice(stderr.lastIndexOf('\x1b[K') + 3)
    const [, read, total] = /^([\d,]+) of ([\d,]+) prompt tokens read, 0 generated; seed 7; wasm, .+\n$/.exec(last)!
    expect(Number(read!.replaceAll(',', ''))).toBeGreaterThan(0)
    expect(Number(total!.replaceAll(',', ''))).toBe(model.tokenizer.encode(book.toString().replace(/\n$/, '')).length)
  })

  test('reports as JSON how much of the prompt was read', async () => {
    const book = readFileSync(new URL('treasure-island.txt', novelsFolder))
    const command = startOnTerminal('generate', novels, '--json', ...baseline)
    interruptAt(command, 'reading the prompt')
    command.child.stdin.end(book)
    const { code, stdout } = await command.ending
    expect(code).toBe(130)
    const end = JSON.parse(stdout) as { promptTokens: number; promptTokensRead: number }
    expect(end).toMatchObject({ type: 'end', interrupted: true, finishReason: null, tokens: 0, tokensPerSecond: null })
    expect(end.promptTokensRead).toBeGreaterThan(0)
    expect(end.promptTokensRead).toBeLessThan(end.promptTokens)
  })

  test('ends quietly when its output pipe is closed', async () => {
    const { child, ending } = start('generate', novels, '--prompt', 'The old captain', ...endless, ...baseline)
    child.stdout.once('data', () => child.stdout.destroy())
    expect(await ending).toMatchObject({ code: 0, stderr: '' })
  })
})
