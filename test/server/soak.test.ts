/* The soak test (npm run soak), short: a few hundred requests, while the server is killed twice. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { builtinModule } from '../../src/builtin-module.js'

const script = fileURLToPath(new URL('../soak/run.mjs', import.meta.url))

// test/runtimes runs it in a Node that has SQLite, whichever this one is
test.skipIf(!builtinModule('node:sqlite'))('no text is wrong, and no turn is lost or duplicated', () => {
  const options = ['--requests', '400', '--connections', '30', '--kills', '2', '--minutes', '6']
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...options], { encoding: 'utf8' })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  expect(stdout).toMatch(/no wrong text, no lost or doubled turn/)
  // it did what it is for
  for (const what of ['turn', 'resume', 'completion', 'rubbish', 'not answered', 'stood still', 'checked in the end'])
    expect(stdout).toMatch(new RegExp(`^ *[1-9]\\d*  ${what}$`, 'm'))
})

test.skipIf(builtinModule('node:sqlite'))('a Node without SQLite is reported', () => {
  const { status, stderr } = spawnSync(process.execPath, [script], { encoding: 'utf8' })
  expect({ status, stderr }).toEqual({ status: 2, stderr: expect.stringMatching(/needs a Node with SQLite \(22\.13 or newer\)/) as string })
})
