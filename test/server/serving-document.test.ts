/** docs/serving.md lists what there is. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { createRuntime } from '../../src/index.js'
import type { RefusalCode } from '../../src/server/http-error.js'
import { createHandler } from '../../src/server/index.js'
import { causalConfig, loadSmallModel } from '../support/small-models.js'
import { ask } from './support.js'

const page = readFileSync(new URL('../../docs/serving.md', import.meta.url), 'utf8')

/** Code spans in a column of the table under a heading. */
function spans(heading: string, column: number): string[] {
  const rows = page.split(`\n## ${heading}\n`)[1]!.split('\n## ')[0]!.split('\n').filter((line) => line.startsWith('|')).slice(2) // prettier-ignore
  expect(rows.length).toBeGreaterThan(5)
  return rows.flatMap((row) => [...row.split('|')[column + 1]!.matchAll(/`([^`]+)`/g)].map(([, name]) => name!))
}

test('a body may hold the fields that are listed, and no others', async () => {
  using runtime = await createRuntime()
  const handler = createHandler(await loadSmallModel(runtime, causalConfig))
  const listed = spans('Completions', 0).map((name) => name.split('.')[0]!)
  const isKnown = async (name: string) => {
    const { status, body } = await ask(handler, 'POST', '/v1/completions', { prompt: [1], stream: true, [name]: null })
    return !(status === 400 && /there is no field/.test((body as { error: { message: string } }).error.message))
  }
  for (const name of listed) expect([name, await isKnown(name)]).toEqual([name, true])
  for (const name of ['best_of', 'suffix', 'messages', 'tools']) expect([name, await isKnown(name)]).toEqual([name, false])
  expect(new Set(listed).size).toBe(25)
})

test('errors have the codes that are listed', () => {
  const ours: Record<RefusalCode, boolean> = {
    UNAUTHORIZED: true,
    FORBIDDEN: true,
    NOT_FOUND: true,
    METHOD_NOT_ALLOWED: true,
    TIMEOUT: true,
    CONFLICT: true,
    TOO_LARGE: true,
    UNSUPPORTED_MEDIA_TYPE: true,
    RATE_LIMITED: true,
    CLIENT_LEFT: false, // no client sees it
    OVERLOADED: true,
    CLOSING: true,
    INTERNAL: true,
  }
  const listed = spans('Errors', 1)
  expect(Object.keys(ours).filter((code) => listed.includes(code) !== ours[code as RefusalCode])).toEqual([])
})
