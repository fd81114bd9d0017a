// @ts-check
import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { LanguageModel } from 'routed-attention'
import { Grammars } from './grammars.mjs'

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'models/novels-10m-v2-int8' },
    prompt: { type: 'string', default: 'The captain’s name and age, and what he carries: ' },
    schema: { type: 'string' },
    regex: { type: 'string' },
    'stop-token': { type: 'string', default: '<|endoftext|>' },
    'max-tokens': { type: 'string', default: '200' },
    seed: { type: 'string' },
  },
})
const { schema, regex, prompt } = values
if ((schema === undefined) === (regex === undefined)) throw new Error('give either --schema FILE or --regex PATTERN')

const model = await LanguageModel.load(values.model)
const stopTokenIds = model.tokenizer.encode(values['stop-token'])
if (stopTokenIds.length !== 1) throw new Error(`${values['stop-token']} is no token of this model`)

const grammars = await Grammars.create(await readFile(`${values.model}/tokenizer.json`, 'utf8'), model.config.numTokens, stopTokenIds)
const grammar =
  schema === undefined
    ? await grammars.regularExpression(/** @type {string} */ (regex))
    : await grammars.jsonSchema(JSON.parse(await readFile(schema, 'utf8')))
const constraint = await grammar.start()

const begin = performance.now()
const { text, finishReason, usage } = await model.complete(prompt, {
  logitsProcessor: constraint.process,
  stopTokenIds,
  maxTokens: Number(values['max-tokens']),
  ...(values.seed !== undefined && { seed: Number(values.seed) }),
})
const { milliseconds, tokens } = constraint.cost
console.log(text)
console.error(
  `${usage.completionTokens} tokens in ${(performance.now() - begin).toFixed(0)} ms; the grammar took ${((1000 * milliseconds) / tokens).toFixed(0)} µs a token`,
)
if (finishReason === 'length') {
  console.error('the text is cut: --max-tokens came before its end')
  process.exitCode = 1
}
for (const each of [constraint, grammar, grammars, model]) each.dispose()
