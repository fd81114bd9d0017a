/* novels-10m, loaded once for the tests of a file that compare commands with the API, and a folder for their files. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll } from 'vitest'
import { createRuntime, LanguageModel, type Runtime } from '../../src/index.js'
import { novelsFolder } from './models.js'

export const novels = fileURLToPath(novelsFolder).replace(/[/\\]$/, '')

/** The same arithmetic on both sides, whatever flags this process runs with. */
export const baseline = ['--simd', 'baseline']

export let runtime: Runtime
export let model: LanguageModel
export const temporary = mkdtempSync(join(tmpdir(), 'routed-attention-cli-'))

beforeAll(async () => {
  runtime = await createRuntime({ simd: 'baseline' })
  model = await LanguageModel.load(novelsFolder, { runtime })
})

afterAll(async () => {
  rmSync(temporary, { recursive: true, force: true })
  await runtime.dispose()
})
