/** What reaches a terminal of text that others wrote: a model's files and what it writes. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { formatTable } from '../../src/cli/format.js'
import { StatusLine } from '../../src/cli/status-line.js'
import { escapeUnprintable, TerminalFilter } from '../../src/cli/terminal-text.js'
import { runCommand, startOnTerminal } from '../support/command.js'
import { recitingModelFiles } from '../support/reciting-model.js'
import { causalConfig, smallModel, smallModelFiles } from '../support/small-models.js'
import { float32Entry, writeSafetensors } from '../support/write-safetensors.js'
import { runs } from '../support/seed.js'

const temporary = mkdtempSync(join(tmpdir(), 'routed-attention-terminal-'))
afterAll(() => rmSync(temporary, { recursive: true, force: true }))

function folderOf(name: string, files: ReadonlyMap<string, Uint8Array>): string {
  const folder = join(temporary, name)
  mkdirSync(folder, { recursive: true })
  for (const [file, bytes] of files) writeFileSync(join(folder, file), bytes)
  return folder
}

const encode = (text: string) => new TextEncoder().encode(text)
const evil = '\u001b[2J\u001b]0;owned\u0007\u009b2J\nrouted-attention: all is well\u202e\u2028'
/** A line of printable characters, and nothing else. */
const oneLine = /^[^\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]+\n$/u

describe('an error message is one line without control characters', () => {
  const small = smallModelFiles(smallModel(causalConfig))
  const withFile = (name: string, bytes: Uint8Array) => new Map(small).set(name, bytes)
  const sharded = withFile('model.safetensors.index.json', encode(JSON.stringify({ weight_map: { x: `${evil}.safetensors` } })))
  sharded.delete('model.safetensors')
  const cases: [string, Map<string, Uint8Array>][] = [
    ['tensor', withFile('model.safetensors', writeSafetensors({ [evil]: float32Entry([1]) }))],
    ['config', withFile('config.json', encode(evil))],
    ['config-value', withFile('config.json', encode(JSON.stringify({ ...causalConfig, selection: evil })))],
    ['tokenizer', withFile('tokenizer.json', encode(JSON.stringify({ normalizer: { type: evil }, model: { type: 'BPE', vocab: { a: 0 }, merges: [] } })))], // prettier-ignore
    ['index', sharded],
  ]

  test.each(cases)('for any content of a model’s %s', async (name, files) => {
    const { code, stdout, stderr } = await runCommand(['info', folderOf(name, files)])
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(oneLine)
  })

  test.each([
    ['a folder', ['info', evil], 1],
    ['a URL', ['info', `http://${evil}`], 2],
    ['a file', ['eval', temporary, '--file', evil], 1],
    ['an option', ['info', `--${evil}`], 2],
    ['a command', [evil], 2],
  ])('whatever the name of %s', async (_what, args, exitCode) => {
    const { code, stderr } = await runCommand(args)
    expect(code).toBe(exitCode)
    // A wrong command line has a second line, the hint.
    for (const line of stderr.split(/(?<=\n)/)) expect(line).toMatch(oneLine)
    expect(stderr.split('\n')).toHaveLength(exitCode + 1)
  })
})

describe('what is written for people to read', () => {
  test('escapes control characters, separators and changes of direction as JSON does', () => {
    expect(escapeUnprintable('a\u0000\t\n\r\u001b\u007f\u0085\u009b\u2028\u202eb\ud800 é漢😀')).toBe(
      'a\\u0000\\t\\n\\u000d\\u001b\\u007f\\u0085\\u009b\\u2028\\u202eb\\ud800 é漢😀',
    )
    const json = JSON.stringify({ text: evil })
    expect(JSON.parse(escapeUnprintable(json, '\n\t'))).toEqual({ text: evil })
  })

  test('stays on one line in a table and in the status', () => {
    expect(formatTable([['name', evil]])).toMatch(oneLine)
    const written: string[] = []
    let now = 0
    const status = new StatusLine({ isTTY: true, columns: 200, write: (text) => written.push(text) }, () => now)
    for (now of [0, 1000]) status.show(() => `loading ${evil}`)
    expect(written).toHaveLength(1)
    expect(`${written[0]!.replace('\r\x1b[K', '')}\n`).toMatch(oneLine)
  })
})

describe('generated text', () => {
  const filtered = (...pieces: string[]) => {
    const filter = new TerminalFilter()
    return pieces.map((piece) => filter.push(piece)).join('')
  }

  test.each([
    ['nothing', 'Déjà vu: 漢字, 😀\n\tend', 'Déjà vu: 漢字, 😀\n\tend'],
    ['lone control characters', 'a\0\u0007\b\u007fb\r\nc\u0085d', 'ab\ncd'],
    ['colours', 'a\x1b[31mb\x1b[0mc', 'abc'],
    ['sequences with C1 characters', 'a\u009b2Jb\u009d0;title\u009cc', 'abc'],
    ['titles and links', 'a\x1b]0;title\u0007b\x1b]8;;https://example.invalid\x1b\\c', 'abc'],
    ['device control strings', 'a\x1bPq#0;2;0\x1b\\b\x1b_x\x1b\\c\x1b^y\x1b\\d\x1bXz\x1b\\e', 'abcde'],
    ['two-character sequences and character sets', 'a\x1bcb\x1b(0c\x1b#8d\x1b%@e', 'abcde'],
    ['an escape within a sequence', 'a\x1b[3\x1b[31mb', 'ab'],
    ['a control character within a sequence', 'a\x1b[3\x001mb', 'ab'],
    ['sequences that never end', 'a\x1b[31\nb\x1b]0;c\nd\x1b\ne', 'a\nb\nd\ne'],
    ['letters that are in no sequence', 'a\x1b[3éb\x1bécd', 'aébécd'],
  ])('drops %s', (_what, text, shown) => {
    expect(filtered(text)).toBe(shown)
    // Character by character too.
    expect(filtered(...text)).toBe(shown)
  })

  test('has no control characters but line feeds and tabs, however the chunks are split', () => {
    const unit = fc.constantFrom(...'\x1b\x1b\x1b[]P0;m\\ab\n\t\r\0\x07\x7f\u0080\u009b\u009c\u009dé😀')
    fc.assert(
      fc.property(fc.array(fc.string({ unit, maxLength: 9 }), { maxLength: 9 }), (pieces) => {
        const shown = filtered(...pieces)
        expect(shown).toMatch(/^[\n\t\P{Cc}]*$/u)
        expect(shown).toBe(filtered(pieces.join('')))
      }),
      runs(100),
    )
  })

  const pieces = ['one', '\x1b', '[3', '1m', 'two', '\u009d0;', 'title', '\u0007', '\t', '\u007f', 'three', '\r\n', 'four']
  const recite = (folder: string) => ['generate', folder, '--prompt', 'a', '--temperature', '0', '--max-tokens', String(pieces.length)]

  test('goes to a pipe unchanged, and to a terminal without escape sequences, even those split across tokens', async () => {
    const folder = folderOf('reciting', recitingModelFiles(pieces))
    expect((await runCommand(recite(folder))).stdout).toBe(`${pieces.join('')}\n`)
    const shown = await startOnTerminal(...recite(folder)).ending
    expect(shown).toMatchObject({ code: 0, stdout: 'onetwo\tthree\nfour\n' })
  })

  test('is escaped within JSON on a terminal, so that each line still parses', async () => {
    const folder = folderOf('reciting', recitingModelFiles(pieces))
    const { stdout } = await startOnTerminal(...recite(folder), '--json').ending
    expect(stdout).toMatch(/^[\n\P{Cc}]*$/u)
    const lines = stdout.trimEnd().split('\n').map((line) => JSON.parse(line) as { type: string; text: string }) // prettier-ignore
    expect(lines.filter(({ type }) => type === 'token').map(({ text }) => text)).toEqual(pieces)
  })

  test('follows a prompt that is echoed in the same way', async () => {
    const folder = folderOf('reciting', recitingModelFiles(pieces))
    const { child, ending } = startOnTerminal('generate', folder, '--echo', '--temperature', '0', '--max-tokens', '1')
    child.stdin.end('a\x1b[31ma')
    const { stdout, stderr } = await ending
    expect({ stdout, stderr }).toMatchObject({ stdout: 'aaone\n' })
  })
})
