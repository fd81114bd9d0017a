import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { StatusLine } from '../../src/cli/status-line.js'
import { runCommand as run } from '../support/command.js'
import { causalConfig, smallModel, smallModelFiles } from '../support/small-models.js'
import { novels, temporary } from '../support/cli-model.js'

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
