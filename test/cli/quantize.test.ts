/** `routed-attention quantize`: a model's folder with int8 weights. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { quantizeModel } from '../../src/model/quantization/quantize-model.js'
import { runCommand as run } from '../support/command.js'
import { causalConfig, smallModel, smallModelFiles } from '../support/small-models.js'

const folder = mkdtempSync(join(tmpdir(), 'routed-attention-quantize-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const files = smallModelFiles(smallModel(causalConfig))
const model = join(folder, 'model')
mkdirSync(model)
for (const [name, bytes] of files) writeFileSync(join(model, name), bytes)
writeFileSync(join(model, 'generation_config.json'), '{"eos_token_id": 3}')

test('writes the output of quantizeModel, which info and eval accept', async () => {
  const out = join(folder, 'new', 'int8')
  const { code, stdout, stderr } = await run(['quantize', model, out, '--activation-bits', '14'])
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(stdout).toMatch(/model\.safetensors {2}[\d.]+ kB\n/)
  const expected = await quantizeModel(model, { activationBits: 14 })
  expect(readdirSync(out).sort()).toEqual([...expected.keys()].sort())
  for (const [name, bytes] of expected) expect(new Uint8Array(readFileSync(join(out, name))), name).toEqual(bytes)
  expect((await run(['info', out])).stdout).toMatch(/^quantization +\{"activationBits":14\}$/m)
})

test('says what is wrong, and overwrites nothing', async () => {
  const before = readdirSync(folder)
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
  expect(readdirSync(folder)).toEqual(before)
})

describe('--report', () => {
  const bytesModel = join(folder, 'bytes-model')
  const text = join(folder, 'text')
  beforeAll(() => {
    mkdirSync(bytesModel)
    const config = { ...causalConfig, num_tokens: 256 }
    for (const [name, bytes] of smallModelFiles(smallModel(config))) writeFileSync(join(bytesModel, name), bytes)
    writeFileSync(text, 'The old captain put down his glass, looked at the map, and said nothing')
  })
  const report = (out: string, file: string, input?: string | Uint8Array) =>
    run(['quantize', bytesModel, join(folder, out), '--bytes', '--threads', '1', '--report', file], input)

  test('compares the new model, with 7 and 14 bits, with its original', async () => {
    const { code, stdout, stderr } = await report('reported', text)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const bits = async (of: string) =>
      (await run(['eval', of, text, '--bytes', '--threads', '1'])).stdout.match(/bits per token +([\d.]+)/)![1]!
    const original = await bits(bytesModel)
    expect(stdout).toMatch(new RegExp(`^original +${original} bits per token$`, 'm'))
    for (const activationBits of ['7', '14']) {
      const out = join(folder, `reported-${activationBits}`)
      await run(['quantize', bytesModel, out, '--activation-bits', activationBits])
      const own = await bits(out)
      const line = new RegExp(
        `^int8, ${activationBits}-bit activations +${own} bits per token \\(([+−])(\\d\\.\\d{5})\\), same greedy choice at \\d+ of 71 positions$`,
        'm',
      )
      const [, sign, difference] = line.exec(stdout) ?? []
      // of figures that are not rounded
      expect(Math.abs(Number(`${sign === '+' ? '' : '-'}${difference}`) - (Number(own) - Number(original)))).toBeLessThan(1.1e-5)
    }
    expect(stdout).toMatch(/^tokens predicted +70$/m)
    expect(stdout).toMatch(/^runs on +wasm/m)
    expect((await report('from-input', '-', readFileSync(text))).stdout.split('\n').slice(2)).toEqual(stdout.split('\n').slice(2))
  })

  test('requires a text, and writes nothing without one', async () => {
    expect(await report('no-text', join(folder, 'nowhere'))).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/there is no file/) as string,
    })
    expect(await report('no-text', '')).toMatchObject({ code: 2, stderr: expect.stringMatching(/takes a non-empty text/) as string })
    writeFileSync(join(folder, 'latin1'), Uint8Array.of(0xe9, 0x20))
    expect(await report('no-text', join(folder, 'latin1'))).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/is not UTF-8/) as string,
    })
    expect(existsSync(join(folder, 'no-text'))).toBe(false)
    writeFileSync(join(folder, 'short'), 'a')
    expect(await report('short-text', join(folder, 'short'))).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/has 1 token;/) as string,
    })
  })
})
