import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createRuntime, LanguageModel, type Runtime } from '../../src/index.js'
import { novels2Int8Folder } from '../support/models.js'

const root = fileURLToPath(new URL('../..', import.meta.url))

let runtime: Runtime
let model: LanguageModel

beforeAll(async () => {
  runtime = await createRuntime()
  model = await LanguageModel.load(novels2Int8Folder, { runtime })
})

afterAll(async () => {
  await runtime.dispose()
})

test('every script of the examples passes the type checker against the built package', () => {
  const scripts = ['constrained-output', 'page', 'signed-sessions'].flatMap((folder) =>
    readdirSync(join(root, 'examples', folder))
      .filter((name) => /\.m?js$/.test(name))
      .map((name) => join(root, 'examples', folder, name)),
  )
  expect(scripts).toHaveLength(8)
  const program = ts.createProgram(scripts, {
    noEmit: true,
    allowJs: true,
    checkJs: true,
    strict: true,
    skipLibCheck: true,
    target: ts.ScriptTarget.ES2022,
    lib: ['lib.es2022.d.ts', 'lib.esnext.disposable.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'],
    types: ['node'],
    // For examples with a package.json of their own, which would install the package.
    paths: { 'routed-attention': [join(root, 'dist/index.d.ts')] },
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
  })
  const messages = ts
    .getPreEmitDiagnostics(program)
    .map(({ file, messageText }) => `${file?.fileName}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`)
  expect(messages).toEqual([])
})

test('signed sessions are accepted only unaltered, and only from their owner', async () => {
  const { SignedSessions } = (await import(new URL('../../examples/signed-sessions/signed-sessions.mjs', import.meta.url).href)) as {
    SignedSessions: {
      create(secret: Uint8Array): Promise<{
        sign(owner: string, bytes: Uint8Array): Promise<Uint8Array<ArrayBuffer>>
        verify(owner: string, signed: Uint8Array): Promise<Uint8Array<ArrayBuffer> | undefined>
      }>
    }
  }
  const signatures = await SignedSessions.create(crypto.getRandomValues(new Uint8Array(32)))
  const session = model.createSession()
  await session.append(model.tokenizer.encode('The old captain'))
  const signed = await signatures.sign('emil', session.save())
  const restored = model.restoreSession((await signatures.verify('emil', signed))!)
  expect(await restored.append([])).toEqual(await session.append([]))

  // a session that the model would accept, but nobody signed: its checksum is right
  const forged = model.createSession()
  await forged.append(model.tokenizer.encode('Never said'))
  expect(await signatures.verify('emil', Buffer.concat([signed.subarray(0, 32), forged.save()]))).toBe(undefined)
  for (const at of [0, 31, 32, 100, signed.length - 1]) {
    const altered = signed.slice()
    altered[at]! ^= 1
    expect(await signatures.verify('emil', altered), `byte ${at}`).toBe(undefined)
  }
  for (const length of [0, 31, 32, signed.length - 1])
    expect(await signatures.verify('emil', signed.slice(0, length)), `${length} bytes`).toBe(undefined)
  expect(await signatures.verify('emily', signed)).toBe(undefined)
  await expect(SignedSessions.create(new Uint8Array(31))).rejects.toThrow(/32 bytes/)
})
