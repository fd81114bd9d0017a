/** `routed-attention quantize`: a model's folder with int8 weights. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test, vi } from 'vitest'
import { quantizeModel } from '../../src/model/quantization/quantize-model.js'
import { runCommand as run } from '../support/command.js'
import { causalConfig, smallModel, smallModelFiles } from '../support/small-models.js'

// Processes start slowly on a busy machine.
vi.setConfig({ testTimeout: 60_000 })

const folder = mkdtempSync(join(tmpdir(), 'routed-attention-quantize-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const files = smallModelFiles(smallModel(causalConfig))
const model = join(folder, 'model')
mkdirSync(model)
for (const [name, bytes] of files) writeFileSync(join(model, name), bytes)
writeFileSync(join(model, 'generation_config.json'), '{"eos_token_id": 3}')

test('writes what quantizeModel makes, and info and eval take it', async () => {
  const out = join(folder, 'new', 'int8')
  const { code, stdout, stderr } = await run(['quantize', model, out, '--activation-bits', '14'])
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(stdout).toMatch(/model\.safetensors {2}[\d.]+ kB\n/)
  const expected = await quantizeModel(model, { activationBits: 14 })
  expect(readdirSync(out).sort()).toEqual([...expected.keys()].sort())
  for (const [name, bytes] of expected) expect(new Uint8Array(readFileSync(join(out, name))), name).toEqual(bytes)
  expect((await run(['info', out])).stdout).toMatch(/^quantization +\{"activationBits":14\}$/m)
})

test('says what is wrong, and writes nothing over what is there', async () => {
  expect(await run(['quantize', model])).toMatchObject({ code: 2, stderr: expect.stringMatching(/no folder was given/) as string })
  expect(await run(['quantize', model, model])).toMatchObject({ code: 2, stderr: expect.stringMatching(/is not empty/) as string })
  expect(await run(['quantize', model, join(folder, 'x'), 'more'])).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/unexpected argument "more"/) as string,
  })
  expect(await run(['quantize', model, join(model, 'config.json')])).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/cannot be written to|not a folder/) as string,
  })
  expect(await run(['quantize', join(folder, 'nowhere'), join(folder, 'y')])).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/nowhere/) as string,
  })
  expect(readdirSync(folder).sort()).toEqual(['model', 'new'])
}, 120_000)
