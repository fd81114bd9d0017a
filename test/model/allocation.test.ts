import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { novelsFolder } from '../support/models.js'

const LOGITS_BYTES = 4 * 4096

/**
 * Bytes a token that a process takes which appends tokens one by one, within a window, with room for all of it before
 * garbage is collected.
 */
const script = `
import { createRuntime, LanguageModel } from ${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)}
const runtime = await createRuntime({ threads: 1 })
const model = await LanguageModel.load(new URL(${JSON.stringify(novelsFolder.href)}), { runtime })
const session = model.createSession()
const token = [7]
const read = async (count) => { for (let i = 0; i < count; i++) await session.append(token) }
// until the engine has compiled it, and then into the middle of a window
await read(2 * 128 + 14)
// buffers of the load are released while the program runs
for (let i = 0; i < 3; i++) {
  gc()
  await new Promise((resolve) => setTimeout(resolve, 20))
}
const before = process.memoryUsage()
await read(100)
const after = process.memoryUsage()
console.log(JSON.stringify([(after.heapUsed - before.heapUsed) / 100, (after.arrayBuffers - before.arrayBuffers) / 100]))
`

test('appending a token allocates its logits, and what a call and a promise take', async () => {
  const flags = ['--expose-gc', '--min-semi-space-size=64', '--max-semi-space-size=64', '--input-type=module']
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, '--eval', script])
  const [objects, buffers] = JSON.parse(stdout) as [number, number]
  expect(buffers).toBeGreaterThanOrEqual(LOGITS_BYTES)
  expect(buffers).toBeLessThan(1.05 * LOGITS_BYTES)
  expect(objects).toBeGreaterThan(0)
  expect(objects).toBeLessThan(8192)
})

/** Bytes of buffers that a process takes which saves a session, and restores it. */
const savingScript = `
import { createRuntime, LanguageModel } from ${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)}
const runtime = await createRuntime({ threads: 1 })
const model = await LanguageModel.load(new URL(${JSON.stringify(novelsFolder.href)}), { runtime })
const session = model.createSession()
await session.append(Array.from({ length: 1000 }, (_, i) => 300 + i))
const buffers = async (work) => {
  for (let i = 0; i < 3; i++) {
    gc()
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  const before = process.memoryUsage().arrayBuffers
  work()
  return process.memoryUsage().arrayBuffers - before
}
const saved = session.save()
model.restoreSession(saved).dispose()
console.log(JSON.stringify([saved.length, await buffers(() => session.save()), await buffers(() => model.restoreSession(saved).dispose())]))
`

test('a session is saved in one piece, and restored without a copy of it', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', '--input-type=module', '--eval', savingScript])
  const [bytes, saving, restoring] = JSON.parse(stdout) as [number, number, number]
  expect(saving).toBeGreaterThanOrEqual(bytes)
  expect(saving).toBeLessThan(1.1 * bytes)
  expect(restoring).toBeLessThan(4 * LOGITS_BYTES)
})
