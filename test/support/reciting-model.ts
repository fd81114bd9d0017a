import { parseModelConfig } from '../../src/model/config/config.js'
import { modelParameters } from '../../src/plan/parameters.js'
import { Tensor } from '../../src/tensor.js'
import { causalConfig, smallModelFiles } from './small-models.js'

const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }
const addedTokenFlags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: false }

/**
 * Files of a model that knows one text by heart: after 'a', the most probable tokens are these pieces in their order,
 * then 'a' again. Its blocks add nothing to a token's embedding, which is a unit vector; the last matrix turns each
 * into the next.
 */
export function recitingModelFiles(pieces: readonly string[]): Map<string, Uint8Array> {
  const size = pieces.length + 1
  const config = { ...causalConfig, num_tokens: size, dim: size, depth: 1, cosine_sim_routing: false }
  const parameters = new Map<string, Tensor>()
  for (const { name, shape } of modelParameters(parseModelConfig(config))) {
    const made = Tensor.zeros(shape)
    if (/norm\.weight$|gamma$/.test(name)) made.data.fill(1)
    parameters.set(name, made)
  }
  for (let id = 0; id < size; id++) {
    parameters.get('token_emb.weight')!.data[id * size + id] = 1
    parameters.get('to_logits.1.weight')!.data[((id + 1) % size) * size + id] = 10
  }
  const files = smallModelFiles({ config, parameters })
  const tokenizer = {
    added_tokens: pieces.map((content, index) => ({ id: index + 1, content, ...addedTokenFlags })),
    pre_tokenizer: byteLevel,
    decoder: byteLevel,
    model: { type: 'BPE', vocab: { a: 0 }, merges: [] },
  }
  return files.set('tokenizer.json', new TextEncoder().encode(JSON.stringify(tokenizer)))
}
