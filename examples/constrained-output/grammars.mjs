// @ts-check
import { loadXgrammar } from './load-xgrammar.mjs'

const { GrammarCompiler, GrammarMatcher, TokenizerInfo } = loadXgrammar()

/**
 * What `logitsProcessor` takes.
 * @typedef {(logits: Float32Array, ids: readonly number[]) => Promise<void>} LogitsProcessor
 */

/** Compiles grammars for one vocabulary. That takes a while; each compiled grammar serves any number of texts. */
export class Grammars {
  /**
   * @param {string} tokenizerJson the model's tokenizer.json: byte-level BPE (GPT-2, Llama 3) or BPE with byte fallback
   *   (Llama 2, Gemma)
   * @param {number} numTokens size of the vocabulary, `model.config.numTokens`
   * @param {number[]} stopTokenIds tokens that may end a text once its grammar is complete; pass them to `generate` as
   *   `stopTokenIds` too
   */
  static async create(tokenizerJson, numTokens, stopTokenIds) {
    const { tokens, encoding, prependsSpace } = readVocabulary(JSON.parse(tokenizerJson))
    const vocabulary = await TokenizerInfo.createTokenizerInfo(tokens, encoding, prependsSpace, numTokens, stopTokenIds)
    return new Grammars(vocabulary, await GrammarCompiler.createGrammarCompiler(vocabulary))
  }

  #vocabulary
  #compiler

  /**
   * @param {import('@mlc-ai/web-xgrammar').TokenizerInfo} vocabulary
   * @param {import('@mlc-ai/web-xgrammar').GrammarCompiler} compiler
   */
  constructor(vocabulary, compiler) {
    this.#vocabulary = vocabulary
    this.#compiler = compiler
  }

  /**
   * JSON that conforms to a schema, on a single line.
   * @param {object} schema
   */
  async jsonSchema(schema) {
    // no optional white space: an unsure model would write it forever
    return new Grammar(await this.#compiler.compileJSONSchema(JSON.stringify(schema), false, -1))
  }

  /**
   * Text that a regular expression matches in full.
   * @param {string} pattern
   */
  async regularExpression(pattern) {
    return new Grammar(await this.#compiler.compileStructuralTag({ type: 'regex', pattern }))
  }

  dispose() {
    this.#compiler.dispose()
    this.#vocabulary.dispose()
  }
}

class Grammar {
  #compiled

  /** @param {import('@mlc-ai/web-xgrammar').CompiledGrammar} compiled */
  constructor(compiled) {
    this.#compiled = compiled
  }

  /** A constraint for one text; each text needs its own. */
  async start() {
    return new Constraint(await GrammarMatcher.createGrammarMatcher(this.#compiled))
  }

  dispose() {
    this.#compiled.dispose()
  }
}

/** The state of one text within its grammar. */
class Constraint {
  #matcher
  /** Number of tokens the matcher has seen, including the prompt. */
  #read = -1
  /** Milliseconds spent in the grammar, and the number of tokens. */
  cost = { milliseconds: 0, tokens: 0 }

  /** @param {import('@mlc-ai/web-xgrammar').GrammarMatcher} matcher */
  constructor(matcher) {
    this.#matcher = matcher
  }

  /**
   * Masks every token that the grammar does not allow next. Pass it to
   * `model.generate(prompt, { logitsProcessor: constraint.process, … })`.
   * @type {LogitsProcessor}
   */
  process = async (logits, ids) => {
    const begin = performance.now()
    if (this.#read === -1) this.#read = ids.length
    for (; this.#read < ids.length; this.#read++) {
      if (!this.#matcher.acceptToken(ids[this.#read]))
        throw new Error(`the grammar does not allow token ${ids[this.#read]}, which was written`)
    }
    const allowed = await this.#matcher.getNextTokenBitmask() // one bit a token
    for (let id = 0; id < logits.length; id++) if (((allowed[id >> 5] >> (id & 31)) & 1) === 0) logits[id] = -Infinity
    this.cost.milliseconds += performance.now() - begin
    this.cost.tokens++
  }

  dispose() {
    this.#matcher.dispose()
  }
}

/**
 * The tokens by id as they are spelled in the file, and their encoding. Special tokens are left empty, since they are
 * not text.
 * @param {any} tokenizer
 * @returns {{ tokens: string[], encoding: 'byte_level' | 'byte_fallback', prependsSpace: boolean }}
 */
function readVocabulary({ model, added_tokens: added = [], decoder, normalizer }) {
  const kinds = new Set([decoder, ...(decoder?.decoders ?? [])].map((part) => part?.type))
  const encoding = kinds.has('ByteLevel') ? 'byte_level' : kinds.has('ByteFallback') ? 'byte_fallback' : undefined
  if (model.type !== 'BPE' || encoding === undefined)
    throw new Error('the tokenizer must be BPE, with a ByteLevel or a ByteFallback decoder')
  /** @type {string[]} */
  const tokens = []
  for (const [token, id] of Object.entries(model.vocab)) tokens[id] = token
  for (const { id, content, special } of added) tokens[id] = special ? '' : content
  const prependsSpace = [normalizer, ...(normalizer?.normalizers ?? [])].some((part) => part?.type === 'Prepend')
  return { tokens: Array.from(tokens, (token) => token ?? ''), encoding, prependsSpace }
}
