/*
 * Makes the 8-bit forms of the shipped models with the built command, in models/NAME-int8/ beside the tracked files of those packages.
 * Nothing is made again while the models and the command are the same.
 *
 *   node scripts/build-models.mjs
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

process.chdir(fileURLToPath(new URL('..', import.meta.url)))

const names = ['novels-10m', 'novels-10m-v2']
/** The names of the command's chunks are hashes of their contents, so this file stands for all of them. */
const command = 'dist/cli.js'
const made = ['tokenizer.json', 'model.safetensors', 'config.json']

for (const name of names) make(join('models', name), join('models', `${name}-int8`), join('build/models', name))

/**
 * @param {string} model
 * @param {string} folder where its 8-bit form belongs
 * @param {string} scratch
 */
function make(model, folder, scratch) {
  const stampFile = `${scratch}.sha256`
  const inputs = hashOf([...readdirSync(model).map((file) => join(model, file)), command])
  const isCurrent =
    existsSync(stampFile) && readFileSync(stampFile, 'utf8') === inputs && made.every((file) => existsSync(join(folder, file)))
  if (isCurrent) return
  rmSync(stampFile, { force: true })
  rmSync(scratch, { recursive: true, force: true })
  mkdirSync(scratch, { recursive: true })
  execFileSync(process.execPath, [command, 'quantize', model, scratch], { stdio: ['ignore', 'ignore', 'inherit'] })
  for (const file of made) renameSync(join(scratch, file), join(folder, file))
  rmSync(scratch, { recursive: true })
  writeFileSync(stampFile, inputs)
}

/** @param {string[]} files */
function hashOf(files) {
  const hash = createHash('sha256')
  for (const file of files.sort()) hash.update(`${file}\0`).update(createHash('sha256').update(readFileSync(file)).digest())
  return hash.digest('hex')
}
