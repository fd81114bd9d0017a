/** Sessions with leases: what nobody uses any more is given back by the next call of anyone. */
import { expect, test } from 'vitest'
import { SessionTable } from '../../src/server/session-table.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, loadSmallModel } from '../support/small-models.js'

test('a session ends with its lease, which each use renews', async () => {
  using runtime = openRuntime('relaxed')
  const model = await loadSmallModel(runtime, causalConfig)
  let time = 0
  const table = new SessionTable({ lease: 10, now: () => time })
  const [first, second] = [model.createSession(), model.createSession()]
  table.add('first', first)
  time = 5
  table.add('second', second)
  expect(table.use('first')).toBe(first)
  time = 14
  expect(table.size).toBe(2)
  time = 15
  expect(table.use('first')).toBeUndefined()
  expect(table.size).toBe(0)
  expect([first.byteLength, second.byteLength]).toEqual([0, 0])
})

test('an id has one session at a time', async () => {
  using runtime = openRuntime('relaxed')
  const model = await loadSmallModel(runtime, causalConfig)
  const table = new SessionTable()
  const session = model.createSession()
  table.add('id', session)
  expect(() => table.add('id', model.createSession())).toThrow('there is a session of this id already')
  expect(table.use('id')).toBe(session)
  expect(table.delete('id')).toBe(true)
  expect(table.delete('id')).toBe(false)
  expect(session.byteLength).toBe(0)
})

test('with isolated callers, the memory of a pending append is given back with its session', async () => {
  using runtime = openRuntime('relaxed')
  runtime.isolateCallers()
  const model = await loadSmallModel(runtime, causalConfig)
  const other = model.createSession()
  await other.append([1, 2, 3])
  const used = runtime.info.memory.used
  let time = 0
  const table = new SessionTable({ lease: 10, now: () => time })
  const vanished = model.createSession()
  table.add('vanished', vanished)
  const pending = [vanished.append([1, 2, 3, 4]), other.append([4])]
  time = 10
  table.collect()
  expect(runtime.info.memory.used).toBe(used)
  await expect(pending[0]).rejects.toMatchObject({ code: 'DISPOSED' })
  await pending[1]
  expect(runtime.info.memory.used).toBe(used)
})

test('bad options are rejected', () => {
  expect(() => new SessionTable({ lease: 0 })).toThrow('lease must be a number above 0, got 0')
  expect(() => new SessionTable({ leases: 3 } as object)).toThrow('leases')
})
