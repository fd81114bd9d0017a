import { LanguageModel } from '../../dist/index.js'

/** Words of a conversation: each turn's, and how many tokens its answer has. */
const SCRIPTS = [
  [['The old captain', 12], [' put down his glass, and', 9], [' “Well,” he said,', 14]],
  [['It was a dark night', 16], [' when suddenly', 7]],
  [['In the garden', 5], [' there stood', 10], ['', 8], [' However', 3]],
  [['“Have you seen', 20], [' my brother?”', 6], [' she asked.', 11]],
  [['Chapter I', 24]],
  [['é 語 😀', 10], [' …', 10]],
] // prettier-ignore

/**
 * A turn, and what must come of it.
 * @typedef {{ prompt: string, maxTokens: number, promptTokens: number, ids: number[], text: string }} Turn
 */

/**
 * What a session that nobody disturbs answers, greedily.
 * @param {string} folder the model's
 * @returns {Promise<Turn[][]>}
 */
export async function undisturbedAnswers(folder) {
  const model = await LanguageModel.load(folder)
  const scripts = []
  for (const script of SCRIPTS) {
    const session = model.createSession()
    /** @type {Turn[]} */
    const turns = []
    for (const [prompt, maxTokens] of /** @type {[string, number][]} */ (script)) {
      const words = prompt === '' ? null : model.tokenizer.encode(prompt)
      /** @type {Turn} */
      const turn = { prompt, maxTokens, promptTokens: words?.length ?? 0, ids: [], text: '' }
      for await (const { id, text } of session.generate(words, { maxTokens, temperature: 0 })) {
        turn.ids.push(id)
        turn.text += text
      }
      turns.push(turn)
    }
    session.dispose()
    scripts.push(turns)
  }
  model.dispose()
  return scripts
}
