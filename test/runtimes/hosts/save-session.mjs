/* In Node: `save-session.mjs MODEL GOLDEN FILE` saves a session after the 300 tokens of the golden prompt. */
import { readFile, writeFile } from 'node:fs/promises'
import { LanguageModel } from 'routed-attention'
import { tensors } from '../suite/golden.js'

const [folder, golden, file] = process.argv.slice(2)
const model = await LanguageModel.load(folder)
const session = model.createSession()
await session.append(tensors(await readFile(golden)).prompt_ids)
await writeFile(file, session.save())
model.dispose()
