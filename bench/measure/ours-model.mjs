/* The language model of models/novels-10m. */
import { readFileSync } from 'node:fs'
import { float32Model } from '../lib/float32-model.mjs'
import { mostProbable } from '../lib/greedy.mjs'
import { built, model as folder, packageEntry } from '../lib/paths.mjs'
import { serve } from '../lib/serve.mjs'
import { secondsEach } from '../lib/timing.mjs'

const { createRuntime, LanguageModel } = await import(packageEntry)

let runtime
let model
/** Tokens of the beginning of a novel. */
let tokens
/** An open session for each position that was asked for, and its last logits. */
const sessions = new Map()
/** Sessions that decode at the same time, and their next tokens. */
const together = []

/** A product of one row with 10 million weights. */
let stream
const STREAMED = 256 * 32 * 1220

const book = () => readFileSync(`${folder}/treasure-island.txt`, 'utf8')

/** The text from token `start` on, repeated as often as necessary. */
function text(start, length) {
  tokens ??= model.tokenizer.encode(book().slice(0, 120_000))
  return Int32Array.from({ length }, (_, i) => tokens[(start + i) % tokens.length])
}

serve({
  /** @param weights 'float16' as the model comes, 'float32' of the same values, or 'int8', rounded when it is loaded */
  async open({ threads = 1, simd = 'auto', revectorize = false, weights = 'float16' }) {
    runtime = await createRuntime({ threads, simd, revectorize })
    model = await LanguageModel.load(weights === 'float32' ? await float32Model() : folder, {
      runtime,
      quantize: weights === 'int8' ? 'int8' : undefined,
    })
    return { ...runtime.info, numParameters: model.numParameters }
  },

  /** Seconds that the one-row kernel takes to stream so many weights of 10 million, in this process. */
  async streamWeights(count, weights, seconds) {
    if (!stream) {
      const { createRuntime: createInner, prepareProduct } = await import(built('internals.mjs'))
      stream = prepareProduct(await createInner({ threads: 1 }), 1, 256, STREAMED / 256, weights === 'float16' ? 1 : 0)
    }
    return (count / STREAMED) * (await secondsEach(stream.run, seconds))
  },

  /** Reads a prompt of `length` tokens and finds the next one. */
  async firstToken(length) {
    const ids = model.tokenizer.encode(book().slice(0, length * 8)).slice(0, length)
    return mostProbable(await model.createSession().append(ids))
  },

  /** Seconds to read the first `position` tokens in a new session, which stays open there. */
  async prefill(position) {
    sessions.get(position)?.session.dispose()
    const ids = text(0, position)
    const start = performance.now()
    const session = model.createSession()
    const logits = await session.append(ids)
    const seconds = (performance.now() - start) / 1000
    sessions.set(position, { session, next: mostProbable(logits) })
    return seconds
  },

  /** Seconds per token of greedy decoding from `position` on. */
  async decode(position, count) {
    const open = sessions.get(position)
    const start = performance.now()
    for (let i = 0; i < count; i++) open.next = mostProbable(await open.session.append([open.next]))
    return (performance.now() - start) / 1000 / count
  },

  /** Opens `count` sessions, each behind `position` tokens of its own, instead of those opened before. */
  async openTogether(count, position) {
    for (const { session } of together.splice(0)) session.dispose()
    for (let index = 0; index < count; index++) {
      const session = model.createSession()
      together.push({ session, next: mostProbable(await session.append(text(97 * index, position))) })
    }
  },

  /** Seconds in which each of the first `count` of them decodes `tokens` tokens, all at once. */
  async decodeTogether(count, tokens) {
    const start = performance.now()
    const decode = async (open) => {
      for (let i = 0; i < tokens; i++) open.next = mostProbable(await open.session.append([open.next]))
    }
    await Promise.all(together.slice(0, count).map(decode))
    return (performance.now() - start) / 1000
  },

  /** Bytes of the state that a conversation needs to go on, of the session that was opened last. */
  savedBytes: () => [...sessions.values()].at(-1).session.save().byteLength,

  /**
   * Seconds a token, reading `count` tokens on in the session of `position`, `size` of them at once, each time up to
   * the logits.
   */
  async readOn(position, size, count) {
    const { session } = sessions.get(position)
    const pieces = Array.from({ length: count / size }, (_, i) => text(session.position + i * size, size))
    const start = performance.now()
    for (const piece of pieces) await session.append(piece)
    return (performance.now() - start) / 1000 / count
  },

  /** Reads `count` tokens on in the session of `position`; what it and the process hold then. */
  async stream(position, count) {
    const { session } = sessions.get(position)
    const start = performance.now()
    for (let done = 0; done < count; done += 2048) await session.append(text(session.position, Math.min(2048, count - done)))
    const seconds = (performance.now() - start) / 1000
    return {
      seconds,
      position: session.position,
      byteLength: session.byteLength,
      ...runtime.info.memory,
      resident: process.memoryUsage.rss(),
    }
  },
})
