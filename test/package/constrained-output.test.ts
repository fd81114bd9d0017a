/** The example of constrained output, on novels-10m's tokenizer. */
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createRuntime, LanguageModel, type Runtime } from '../../src/index.js'
import { createTokenizer, type Tokenizer } from '../../src/io/tokenizer.js'
import { createRandom } from '../../src/random.js'
import { novelsFolder } from '../support/models.js'

interface Constraint {
  process(logits: Float32Array, ids: readonly number[]): Promise<void>
  cost: { milliseconds: number; tokens: number }
  dispose(): void
}
interface Grammar {
  start(): Promise<Constraint>
  dispose(): void
}
interface Grammars {
  jsonSchema(schema: object): Promise<Grammar>
  regularExpression(pattern: string): Promise<Grammar>
  dispose(): void
}
type Module = { Grammars: { create(tokenizerJson: string, numTokens: number, stopTokenIds: number[]): Promise<Grammars> } }

const example = new URL('../../examples/constrained-output/', import.meta.url)
const { Grammars } = (await import(new URL('grammars.mjs', example).href)) as Module
const tokenizerJson = readFileSync(new URL('tokenizer.json', novelsFolder), 'utf8')
const schema = JSON.parse(readFileSync(new URL('character.json', example), 'utf8')) as object
const heading = '(Chapter|Part) [IVXLC]{1,4}\\. [A-Z][a-z]{2,8}( [a-z]{2,8}){2,5}'

const NUM_TOKENS = 4096
const END = 0
let tokenizer: Tokenizer
let grammars: Grammars

beforeAll(async () => {
  tokenizer = await createTokenizer(tokenizerJson)
  grammars = await Grammars.create(tokenizerJson, NUM_TOKENS, [END])
})
afterAll(() => grammars.dispose())

/** Fails unless a text is what the schema allows. */
function expectCharacter(text: string): void {
  expect(text).not.toMatch(/\n/)
  const character = JSON.parse(text) as { name: string; age: number; trade: string; carries: string[] }
  expect(Object.keys(character)).toEqual(['name', 'age', 'trade', 'carries'])
  expect(character.name).toMatch(/^[A-Z][a-z]{2,9}( [A-Z][a-z]{2,9})?$/)
  expect(character.age >= 0 && character.age <= 99 && Number.isInteger(character.age)).toBe(true)
  expect(['sailor', 'squire', 'doctor', 'innkeeper']).toContain(character.trade)
  expect(character.carries.length).toBeLessThanOrEqual(3)
  for (const thing of character.carries) expect(thing).toBeTypeOf('string')
}

/** Writes with logits at random, which like quotation marks, so that texts come to an end. */
async function babble(grammar: Grammar, seed: number): Promise<{ text: string; isComplete: boolean }> {
  const random = createRandom(seed)
  const constraint = await grammar.start()
  const prompt = tokenizer.encode('The captain: ')
  const ids = [...prompt]
  while (ids.at(-1) !== END && ids.length < 400) {
    const logits = Float32Array.from({ length: NUM_TOKENS }, (_, id) => random.uniform() + (quotes.has(id) ? random.uniform() : 0))
    await constraint.process(logits, ids)
    ids.push(logits.indexOf(Math.max(...logits)))
  }
  expect(constraint.cost.tokens).toBe(ids.length - prompt.length)
  constraint.dispose()
  const written = ids.slice(prompt.length)
  const isComplete = written.at(-1) === END
  return { text: tokenizer.decode(isComplete ? written.slice(0, -1) : written), isComplete }
}
const quotes = new Set<number>()
beforeAll(() => {
  for (let id = 0; id < NUM_TOKENS; id++) if (tokenizer.decode([id]).includes('"')) quotes.add(id)
})

describe('for any logits', () => {
  test('a JSON schema holds', async () => {
    const grammar = await grammars.jsonSchema(schema)
    let complete = 0
    for (let seed = 0; seed < 20; seed++) {
      const { text, isComplete } = await babble(grammar, seed)
      if (!isComplete) continue
      complete++
      expectCharacter(text)
    }
    expect(complete).toBeGreaterThan(5)
    grammar.dispose()
  })

  test('a regular expression matches, from its beginning to its end', async () => {
    const grammar = await grammars.regularExpression(heading)
    for (let seed = 0; seed < 20; seed++) {
      const { text, isComplete } = await babble(grammar, seed)
      expect(isComplete).toBe(true)
      expect(text).toMatch(new RegExp(`^(${heading})$`))
    }
    grammar.dispose()
  })
})

describe('the model itself', () => {
  let runtime: Runtime
  let model: LanguageModel
  beforeAll(async () => {
    runtime = await createRuntime()
    model = await LanguageModel.load(novelsFolder, { runtime })
  })
  afterAll(() => runtime.dispose())

  test('writes JSON that its schema allows, and then ends', async () => {
    const grammar = await grammars.jsonSchema(schema)
    for (const seed of [1, 2, 3]) {
      const constraint = await grammar.start()
      const options = { logitsProcessor: constraint.process, stopTokenIds: [END], maxTokens: 400, temperature: 0.7, seed }
      const { text, finishReason, ids } = await model.complete('The captain’s name and age, and what he carries: ', options)
      expect(finishReason).toBe('stop')
      expect(constraint.cost.tokens).toBe(ids.length)
      expectCharacter(text)
      constraint.dispose()
    }
    grammar.dispose()
  })

  test.each([
    ['--schema', fileURLToPath(new URL('character.json', example)), (text: string) => expectCharacter(text)],
    ['--regex', heading, (text: string) => expect(text).toMatch(new RegExp(`^(${heading})$`))],
  ])('writes what the program of the example prints (%s)', (option, value, check) => {
    // Where `routed-attention` is the package itself: the example's package.json would ask for it to be installed.
    mkdirSync(new URL('../../build/', import.meta.url), { recursive: true })
    const folder = mkdtempSync(fileURLToPath(new URL('../../build/constrained-output-', import.meta.url)))
    try {
      for (const name of readdirSync(example).filter((name) => name.endsWith('.mjs')))
        copyFileSync(new URL(name, example), join(folder, name))
      const args = [join(folder, 'main.mjs'), '--model', fileURLToPath(novelsFolder), option, value, '--seed', '1', '--max-tokens', '600']
      const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
      expect(stderr).toMatch(/^\d+ tokens in \d+ ms; the grammar took \d+ µs a token\n$/)
      expect(status).toBe(0)
      check(stdout.trimEnd())
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})

test('the end of the text and other special tokens are kept out of strings', async () => {
  const grammar = await grammars.jsonSchema({ type: 'string' })
  const constraint = await grammar.start()
  const ids = [7]
  const allowed = async () => {
    const logits = new Float32Array(NUM_TOKENS)
    await constraint.process(logits, ids)
    return logits
  }
  expect((await allowed())[END]).toBe(-Infinity)
  ids.push(tokenizer.encode('"')[0]!)
  const inside = await allowed()
  expect(inside[END]).toBe(-Infinity)
  expect(inside[tokenizer.encode(' ship')[0]!]).toBe(0)
  ids.push(tokenizer.encode('"')[0]!)
  const behind = await allowed()
  expect(behind[END]).toBe(0)
  expect(behind.filter((logit) => logit === 0)).toHaveLength(1)
  constraint.dispose()
  grammar.dispose()
})

test('a tokenizer of another kind is rejected', async () => {
  const wordPiece = JSON.stringify({ model: { type: 'WordPiece', vocab: { a: 0 } }, decoder: { type: 'WordPiece' } })
  await expect(Grammars.create(wordPiece, 1, [0])).rejects.toThrow(/must be BPE/)
})

test('the repository tests with the version of the grammar library that the example installs', () => {
  const read = (url: URL) => JSON.parse(readFileSync(url, 'utf8')) as Record<'dependencies' | 'version', unknown>
  const { dependencies } = read(new URL('package.json', example))
  const installed = read(new URL('../../node_modules/@mlc-ai/web-xgrammar/package.json', import.meta.url))
  expect(dependencies).toEqual({ '@mlc-ai/web-xgrammar': installed.version, 'routed-attention': 'file:../..' })
})
