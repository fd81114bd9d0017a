/*
 * In Node: `resume-sessions.mjs MODEL GOLDEN FILE…` continues each session; prints for each what went wrong, or null.
 */
import { readFile } from 'node:fs/promises'
import { LanguageModel } from 'routed-attention'
import { tensors } from '../suite/golden.js'

const [folder, golden, ...files] = process.argv.slice(2)
const model = await LanguageModel.load(folder)
const expected = tensors(await readFile(golden)).greedy_ids.join()
const problems = []
for (const file of files) {
  try {
    const session = model.restoreSession(await readFile(file))
    const ids = []
    for (let logits = await session.append([]); ids.length < 64; logits = await session.append(ids.slice(-1)))
      ids.push(logits.indexOf(Math.max(...logits)))
    session.dispose()
    problems.push(ids.join() === expected ? null : `it went on with ${ids.join()}, expected ${expected}`)
  } catch (error) {
    problems.push(String(error))
  }
}
console.log(JSON.stringify(problems))
model.dispose()
