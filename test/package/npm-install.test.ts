/**
 * The first lines of the README, as a reader runs them: both packages from their tarballs, in an empty folder, without
 * a network.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { seeded } from '../support/seeded-process.js'
import { testSeed } from '../support/seed.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const model = join(root, 'models/novels-10m')
const folder = mkdtempSync(join(tmpdir(), 'routed-attention-install-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const run = (command: string, ...args: string[]) => execFileSync(command, args, { cwd: folder, encoding: 'utf8' })
const quiet = ['--offline', '--no-audit', '--no-fund', '--loglevel=error']

/** A block of code of the README that has a text in it. */
function block(language: string, part: string): string {
  const blocks = [...readFileSync(join(root, 'README.md'), 'utf8').matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)]
  return blocks.find(([, of, code = '']) => of === language && code.includes(part))![2]!
}

beforeAll(() => {
  // as they were built: packing would build again
  for (const from of [root, model]) run('npm', 'pack', '--ignore-scripts', '--loglevel=error', from)
  const tarballs = readdirSync(folder).map((name) => `./${name}`)
  expect(tarballs).toHaveLength(2)
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }\n')
  run('npm', 'install', ...quiet, ...tarballs)
})

test('the README names both packages in its first command', () => {
  const names = [root, model].map((from) => (JSON.parse(readFileSync(join(from, 'package.json'), 'utf8')) as { name: string }).name)
  expect(block('sh', 'npm install')).toMatch(new RegExp(`^npm install ${names.join(' ')}\\b`))
})

test('the README’s first lines run in an empty folder', () => {
  writeFileSync(join(folder, 'main.mjs'), block('js', 'routed-attention-novels-10m'))
  expect(run(process.execPath, ...seeded, 'main.mjs')).toMatch(/^\S*(\s+\S+){15}[^]*\n\d+ tokens in \d+ bytes\n$/)
})

test('so does the command below them', () => {
  const command = block('sh', 'npx routed-attention').trim().replace(/^npx /, 'npx --offline ')
  // another seed may end the text early
  expect(run('sh', '-c', `${command} --seed ${testSeed}`)).toMatch(/^\S*(\s+\S+){15}/)
})

test('the folder is found by import.meta.resolve and holds what the model needs, but no values of tests', () => {
  const code = "console.log(import.meta.resolve('routed-attention-novels-10m/config.json'))"
  writeFileSync(join(folder, 'resolve.mjs'), code)
  const installed = join(folder, 'node_modules/routed-attention-novels-10m')
  expect(run(process.execPath, 'resolve.mjs')).toBe(`${pathToFileURL(join(installed, 'config.json')).href}\n`)
  expect(readdirSync(installed).sort()).toEqual(
    [
      ...['LICENSE', 'README.md', 'config.json', 'index.d.ts', 'index.js', 'model-00001-of-00002.safetensors'],
      ...['model-00002-of-00002.safetensors', 'model.safetensors.index.json', 'package.json', 'tokenizer.json'],
    ].sort(),
  )
})
