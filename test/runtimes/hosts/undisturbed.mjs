/* What one session says to turns: `undisturbed.mjs CONFIG`. It reads the answers that are given, and makes the others. */
import { LanguageModel } from 'routed-attention'

const { folder, turns, maxTokens } = JSON.parse(process.argv[2])
const model = await LanguageModel.load(folder)
const session = model.createSession()
const answers = []
for (const { prompt, seed, ids } of turns) {
  const words = model.tokenizer.encode(prompt)
  const answer = ids ?? []
  if (ids) await session.append([...words, ...ids])
  else for await (const { id } of session.generate(words, { maxTokens, seed })) answer.push(id)
  answers.push(answer)
}
session.dispose()
model.dispose()
console.log(JSON.stringify(answers))
