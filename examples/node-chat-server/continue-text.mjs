// @ts-check

/**
 * Reads a text into a session, then writes on from there. Every token that is written has also been read by the session, so that the
 * next text continues behind it.
 * @param {import('routed-attention').LanguageModel} model
 * @param {import('routed-attention').Session} session
 * @param {string} text what comes next; may be empty in a session that has read something
 * @param {{ maxTokens: number, temperature: number, signal: AbortSignal }} options
 * @returns {AsyncGenerator<string, void, undefined>} the new text, as it becomes certain
 */
export async function* continueText(model, session, text, { maxTokens, temperature, signal }) {
  let logits = await session.append(model.tokenizer.encode(text), { signal })
  /** @type {number[]} */
  const written = []
  let given = 0
  for (let made = 1; made <= maxTokens; made++) {
    const id = sample(logits, temperature)
    logits = await session.append([id], { signal })
    written.push(id)
    const whole = model.tokenizer.decode(written)
    // A character may take several tokens; until it is whole it ends in U+FFFD.
    if (whole.endsWith('\ufffd') && made < maxTokens) continue
    yield whole.slice(given)
    given = whole.length
  }
}

/**
 * @param {Float32Array} logits
 * @param {number} temperature 0 takes the most probable token
 */
function sample(logits, temperature) {
  const largest = logits.reduce((a, b) => Math.max(a, b))
  if (temperature === 0) return logits.indexOf(largest)
  const weights = Float64Array.from(logits, (logit) => Math.exp((logit - largest) / temperature))
  let rest = Math.random() * weights.reduce((a, b) => a + b)
  const id = weights.findIndex((weight) => (rest -= weight) < 0)
  return id === -1 ? logits.indexOf(largest) : id // -1: rounding
}
