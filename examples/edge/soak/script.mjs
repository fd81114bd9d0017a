// @ts-check
import { createRuntime, LanguageModel } from 'routed-attention'

/** Tokens of each answer. */
export const ANSWER = 16
const WORDS = [
  'The old captain',
  ' put down his glass',
  ' and looked at the map',
  '. "Well," said he',
  ' in the garden',
  ' my dear',
  ', whom nobody had seen',
  ' ship',
]

/** The words of a turn. @param {() => number} random */
export function words(random) {
  const count = 1 + Math.floor(random() * 3)
  return Array.from({ length: count }, () => WORDS[Math.floor(random() * WORDS.length)]).join('')
}

/** What a session that nobody disturbs writes, greedily, in this process. */
export class Script {
  #model

  /** @param {LanguageModel} model */
  constructor(model) {
    this.#model = model
  }

  /** @param {string} folder of the model */
  static async open(folder) {
    const runtime = await createRuntime({ device: 'wasm', threads: 1 })
    return new Script(await LanguageModel.load(folder, { runtime }))
  }

  /** @param {readonly string[]} asked the words of each turn @returns the turns: words, and the tokens of the answer */
  async play(asked) {
    const session = this.#model.createSession()
    const turns = []
    for (const prompt of asked) {
      const ids = this.#model.tokenizer.encode(prompt, { allowSpecial: false })
      const tokens = []
      for await (const { id } of session.generate(ids, { maxTokens: ANSWER, temperature: 0, ignoreEos: true })) tokens.push(id)
      turns.push({ prompt, tokens })
    }
    session.dispose()
    return turns
  }
}
