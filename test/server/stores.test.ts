/* The stores of conversations in this Node; test/runtimes has the same statements for SQLite in every runtime. */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { builtinModule } from '../../src/builtin-module.js'
import { MemoryStore } from '../../src/server/stores/memory-store.js'
import { SqliteStore } from '../../src/server/stores/sqlite-store.js'
import { storeStatements } from '../runtimes/suite/stores.js'
import { expectRejects, expectThrows } from '../support/errors.js'

const folder = mkdtempSync(join(tmpdir(), 'routed-attention-stores-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
let files = 0
const newFile = () => join(folder, `${files++}.sqlite`)

const one = (value: number, length = 1) => new Map([['entry', new Uint8Array(length).fill(value)]])

describe('in memory', () => {
  test.each(storeStatements(() => new MemoryStore()))('%s', (_name, statement) => statement())

  test('evicts the least recently used conversations to stay within its byte limit', async () => {
    const store = new MemoryStore({ maxBytes: 10_000 })
    for (const id of ['a', 'b', 'c']) await store.write(id, 1, one(1, 2000))
    await store.read('a', '')
    await store.write('d', 1, one(1, 3000))
    const known = async () => (await Promise.all(['a', 'b', 'c', 'd'].map((id) => store.read(id, 'none')))).map(Boolean)
    expect(await known()).toEqual([true, false, true, true])
    expect(store.byteLength).toBeLessThanOrEqual(10_000)
    await store.write('a', 2, one(2, 1000)) // replacing an entry counts it once
    expect(await known()).toEqual([true, false, true, true])
    for (const id of ['a', 'c', 'd']) await store.delete(id)
    expect(store.byteLength).toBe(0)
  })

  test('options are checked', () => {
    expectThrows(() => new MemoryStore({ maxBytes: 0 }), 'BAD_ARGUMENT', /maxBytes must be a number above 0, got 0/)
    expectThrows(() => new MemoryStore({ maxByte: 1 } as object), 'BAD_ARGUMENT', /did you mean 'maxBytes'/)
  })
})

describe.skipIf(!builtinModule('node:sqlite'))('on SQLite', () => {
  test.each(storeStatements(() => new SqliteStore(newFile())))('%s', (_name, statement) => statement())

  test('what was written is there when the file is reopened, and two connections may have it open', async () => {
    const file = newFile()
    const first = new SqliteStore(file)
    await first.write('a', 1, one(1))
    const second = new SqliteStore(file)
    expect(await second.write('a', 2, one(2))).toBe(true)
    expect(await first.write('a', 2, one(3))).toBe(false)
    first.close()
    first.close()
    second.close()
    using third = new SqliteStore(file)
    expect(await third.read('a', '')).toEqual({ version: 2, entries: one(2) })
    await expectRejects(first.read('a', ''), 'DISPOSED', /was closed/)
  })

  test('a process that is killed while it writes keeps every acknowledged write, complete', async () => {
    const file = newFile()
    const script = `
      import { SqliteStore } from ${JSON.stringify(new URL('../../dist/server.js', import.meta.url).href)}
      const store = new SqliteStore(${JSON.stringify(file)})
      for (let version = 1; ; version++) {
        const entries = new Map(['a', 'b'].map((name) => [name, new Uint8Array(5000).fill(version)]))
        if (!(await store.write('id', version, entries))) throw new Error('refused')
        console.log(version)
      }`
    const child = spawn(process.execPath, ['--input-type=module', '--eval', script])
    let told = ''
    await new Promise<void>((resolve) => {
      child.stdout.on('data', (text: Buffer) => {
        told += text.toString()
        if (told.split('\n').length > 20) child.kill('SIGKILL')
      })
      child.on('close', () => resolve())
    })
    const last = Number(told.split('\n').at(-2))
    expect(last).toBeGreaterThanOrEqual(20)
    using store = new SqliteStore(file)
    const { version, entries } = (await store.read('id', ''))!
    expect(version === last || version === last + 1).toBe(true)
    for (const name of ['a', 'b']) expect(new Set(entries.get(name))).toEqual(new Set([version & 255]))
  })

  test('conversations without writes expire', async () => {
    const file = newFile()
    using store = new SqliteStore(file, { maxIdleDays: 30 })
    await store.write('old', 1, one(1))
    await store.write('new', 1, one(1))
    const { DatabaseSync } = builtinModule<{ DatabaseSync: new (path: string) => { exec(sql: string): void; close(): void } }>(
      'node:sqlite',
    )!
    const database = new DatabaseSync(file)
    database.exec("UPDATE conversations SET written = written - 31 * 86400000 WHERE id = 'old'")
    database.close()
    expect(await store.read('old', '')).toBeDefined()
    await store.write('newer', 1, one(1))
    expect(await store.read('old', '')).toBeUndefined()
    expect(await store.read('new', '')).toBeDefined()
  })

  test('files of other programs are rejected and left alone', async () => {
    const text = newFile()
    writeFileSync(
      text,
      'this is no database, and it is longer than the header of one would be, so that it is read and found to be none'.repeat(9),
    )
    expectThrows(() => new SqliteStore(text), 'BAD_FILE', /not a database/)
    const other = newFile()
    const { DatabaseSync } = builtinModule<{ DatabaseSync: new (path: string) => { exec(sql: string): void; close(): void } }>(
      'node:sqlite',
    )!
    const database = new DatabaseSync(other)
    database.exec('CREATE TABLE things (a)')
    database.close()
    expectThrows(() => new SqliteStore(other), 'BAD_FILE', /a database of something else/)
    expectThrows(() => new SqliteStore(join(folder, 'none/none.sqlite')), 'BAD_FILE', /unable to open/)
    expectThrows(() => new SqliteStore(''), 'BAD_ARGUMENT', /path must be a file's path, got ""/)
    expectThrows(() => new SqliteStore(newFile(), { maxIdleDays: -1 }), 'BAD_ARGUMENT', /maxIdleDays must be a number above 0, got -1/)
  })
})

test.skipIf(builtinModule('node:sqlite'))('an engine without SQLite gets advice', () => {
  expectThrows(() => new SqliteStore(newFile()), 'UNSUPPORTED', /SQLite of Node 22\.13 or newer, Deno or Bun.*MemoryStore/)
})
