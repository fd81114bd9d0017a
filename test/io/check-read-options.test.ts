import { createHash } from 'node:crypto'
import { describe, it } from 'vitest'
import { LanguageModel, quantizeModel } from '../../src/index.js'
import { expectRejects } from '../support/errors.js'

/** The calls that read a model; options are checked before anything is read. */
const calls = {
  load: (options: unknown) => LanguageModel.load(new Map(), options as never),
  quantizeModel: (options: unknown) => quantizeModel(new Map(), options as never),
}

const digest = createHash('sha256').digest('hex')
const base64 = createHash('sha256').update(Buffer.of(1)).digest('base64')

describe.each(Object.entries(calls))('%s rejects', (name, call) => {
  it.each([null, 5, 'x'])('options that are %j', async (options) => {
    await expectRejects(call(options), 'BAD_ARGUMENT', new RegExp(`^${name}: options must be an object`))
  })

  it.each([
    [{ integrety: {} }, /knows no option "integrety" \(did you mean 'integrity'\?\)/],
    [{ onProgress: 5 }, /onProgress must be a function/],
    [{ fetch: 'fetch' }, /fetch must be a function/],
    [{ signal: {} }, /signal must be an AbortSignal/],
    [{ signal: null }, /signal must be an AbortSignal/],
  ])('%j', async (options, message) => {
    await expectRejects(call(options), 'BAD_ARGUMENT', new RegExp(`^${name}:? ${message.source}`))
  })

  it.each([null, 5, '', {}, { match: () => {} }, { match: () => {}, put: () => {}, delete: 5 }])('%j as a cache', async (cache) => {
    await expectRejects(call({ cache }), 'BAD_ARGUMENT', /^cache must be/)
  })

  it.each([null, 5, {}])('%j as a cacheVersion', async (cacheVersion) => {
    await expectRejects(call({ cacheVersion }), 'BAD_ARGUMENT', /^cacheVersion must be a string/)
  })

  it.each([null, 5, 'sha256', [digest]])('%j as integrity', async (integrity) => {
    await expectRejects(call({ integrity }), 'BAD_ARGUMENT', /^integrity must be an object/)
  })

  it.each([null, 5, '', digest.slice(1), `${digest}0`, `sha256-${digest}`, `sha1-${digest}`, digest.replace('e', 'g'), base64])(
    '%j as a digest',
    async (bad) => {
      await expectRejects(call({ integrity: { 'config.json': bad } }), 'BAD_ARGUMENT', /^integrity of "config\.json" must be/)
    },
  )
})
