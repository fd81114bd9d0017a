/*
 * What is let go of without being disposed of gives its memory back when it is collected: the built package, in
 * processes that collect on request.
 */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const entry = new URL('../../dist/index.js', import.meta.url)

/**
 * Runs a module that has a model of 2 threads on a runtime, `used()`, `collect()`, `collectTo(bytes)` and
 * `same(logits, logits)`, and prints what it returns as JSON.
 */
function run(body: string): unknown {
  const module = `
    import { createRuntime, LanguageModel, MixtureOfAutoregressiveAttention, Tensor } from '${entry.href}'
    const runtime = await createRuntime({ threads: 2 })
    const load = (options) => LanguageModel.load('models/novels-10m', options)
    const used = () => runtime.info.memory.used
    // what is collected gives its memory back in a task of its own, whenever the engine gets round to it
    const collect = async (isDone = () => false, rounds = 6) => {
      for (let round = 0; round < rounds && !isDone(); round++) {
        gc()
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    }
    const collectTo = (bytes) => collect(() => used() === bytes, 1000)
    const same = (a, b) => a.length === b.length && a.every((value, i) => Object.is(value, b[i]))
    const ids = Array.from({ length: 200 }, (_, i) => (i * 37) % 4096)
    const main = async () => { ${body} }
    console.log(JSON.stringify(await main()))
    process.exit()`
  const { stdout, stderr } = spawnSync(process.execPath, ['--expose-gc', '--input-type=module', '--eval', module], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    encoding: 'utf8',
  })
  expect(stderr).toBe('')
  return JSON.parse(stdout)
}

test('generators, sessions, clones, restored sessions and layers that are no longer referenced', () => {
  const body = `
      const model = await load({ runtime })
      const first = model.createSession() // what the model itself needs is there then
      await first.append(ids)
      first.dispose()
      const before = used()
      const leave = {
        generators: () => model.generate('The old captain', { maxTokens: 10 }).next(),
        sessions: () => model.createSession().append(ids),
        clones: async () => void model.createSession().clone(),
        restored: async () => void model.restoreSession(model.createSession().save()),
        layers: async () => void new MixtureOfAutoregressiveAttention(runtime, { dim: 64, numRoutedQueries: 2, numRoutedKeyValues: 2, localAttnWindowSize: 8 }),
      }
      const result = {}
      for (const [what, make] of Object.entries(leave)) {
        for (let i = 0; i < 5; i++) await make()
        const grown = used() - before
        await collectTo(before)
        result[what] = [grown > 0, used() - before]
      }
      return result`
  expect(run(body)).toEqual({
    generators: [true, 0],
    sessions: [true, 0],
    clones: [true, 0],
    restored: [true, 0],
    layers: [true, 0],
  })
})

test('models, except those that a session or generator still needs, and memory of pending work', () => {
  const body = `
      const before = used()
      const expected = (await (await load({ runtime })).forward(ids)).data.slice(-4096)
      const session = (await load({ runtime })).createSession()
      const generator = (await load({ runtime })).generate('The old captain', { maxTokens: 3, temperature: 0 })
      const first = (await generator.next()).value.id
      await collect()
      const held = used() - before
      const appended = await session.append(ids)
      const second = (await generator.next()).value.id
      // what these belong to is unreachable
      const pending = [load({ runtime }).then((model) => model.createSession().append(ids)), load({ runtime }).then((model) => model.forward(ids))]
      for (let i = 0; i < 20; i++) { gc(); await new Promise((resolve) => setTimeout(resolve, 10)) }
      const [appendedAlone, forwarded] = await Promise.all(pending)
      return [held > 0, same(appended, expected), first !== undefined && second !== undefined, same(appendedAlone, expected), same(forwarded.data.slice(-4096), expected)]`
  expect(run(body)).toEqual([true, true, true, true, true])
  expect(
    run(`
        const before = used()
        for (let i = 0; i < 2; i++) await (await load({ runtime })).forward([1, 2, 3])
        const own = (await load()).runtime
        await collect(() => used() === before && own.disposed, 1000)
        return [used() - before, own.disposed]`),
  ).toEqual([0, true])
})

test('collecting a disposed object releases nothing twice', () => {
  const body = `
      const model = await load({ runtime })
      const first = model.createSession()
      const expected = await first.append(ids)
      first.dispose()
      const before = used()
      for (let i = 0; i < 5; i++) {
        const session = model.createSession()
        await session.append(ids)
        session.dispose()
        const layer = new MixtureOfAutoregressiveAttention(runtime, { dim: 64, numRoutedQueries: 2, numRoutedKeyValues: 2, localAttnWindowSize: 8 })
        layer.dispose()
      }
      const kept = [model.createSession(), model.createSession()]
      const holding = used()
      await collect()
      const answers = await Promise.all(kept.map((session) => session.append(ids)))
      const stays = used() === holding
      for (const session of kept) session.dispose()
      await collectTo(before)
      return [stays, used() - before, ...answers.map((logits) => same(logits, expected))]`
  expect(run(body)).toEqual([true, 0, true, true])
})
