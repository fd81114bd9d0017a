import type { ByteScanner } from '../device/device.js'
import { WeightFormat } from '../device/device.js'
import { type ModelFiles, readModelFiles } from '../io/model-files.js'
import type { ModelSource, ReadOptions } from '../io/read-options.js'
import type { StoredTensor } from '../io/safetensors.js'
import { createTokenizer, type ModelTokenizer } from '../io/tokenizer.js'
import { type ModelWeights, planModelWeights } from '../plan/memory/model-weights.js'
import { type AssumedDefaults, assumedDefaults, checkRotaryIsStated, type ModelConfig, parseModelConfig } from './config/config.js'
import { matchStoredTensors, pick } from './parameters/state-dict.js'
import { formatOf, nonFiniteHalves } from './parameters/stored-parameters.js'
import { checkScales, storedSpecs } from './quantization/quantized-parameters.js'
import { chooseTokenizer, type TokenizerKind } from './text/choose-tokenizer.js'
import { readEosTokenIds } from './text/eos-token-ids.js'
import { checkTokenizerFits } from './text/tokenizer-fit.js'

/** The contents of a model's files. */
export interface ModelContents {
  readonly config: ModelConfig
  readonly assumed: AssumedDefaults
  readonly tokenizer: ModelTokenizer | undefined
  readonly eosTokenIds: readonly number[]
  /** By parameter name; those of int8 beside their scales. */
  readonly tensors: ReadonlyMap<string, StoredTensor>
  /** How they are packed, provided their values allow it: see `planForValues`. */
  readonly parameters: ModelWeights
  readonly unavailable: ModelFiles['unavailable']
}

/**
 * Reads a model's files, checking each before anything larger is read.
 * @param kind the tokenizer requested by the caller
 * @param prepare called with the size of the packed weights in bytes, once the tensors' headers are known
 * @throws RoutedAttentionError as `LanguageModel.load` does
 */
export async function readModel(
  source: ModelSource,
  options: ReadOptions,
  kind: TokenizerKind | undefined,
  prepare: (byteLength: number) => void,
): Promise<ModelContents> {
  const files = await readModelFiles(source, options, {
    config: (json) => {
      const config = parseModelConfig(json)
      return {
        config,
        assumed: assumedDefaults(config, json),
        chosenTokenizer: chooseTokenizer(kind, json, config.numTokens),
        eosTokenIds: readEosTokenIds(json, 'config.json', config.numTokens),
      }
    },
    tokenizer: async (bytes, { config, chosenTokenizer }) => {
      if (chosenTokenizer !== undefined) return chosenTokenizer
      const tokenizer = await createTokenizer(bytes, config.numTokens)
      checkTokenizerFits(tokenizer, bytes, config.numTokens)
      return tokenizer
    },
    generation: (json, { config }) => readEosTokenIds(json, 'generation_config.json', config.numTokens),
    weights: (tensors, { config, assumed }) => {
      const names = matchStoredTensors(storedSpecs(config), tensors)
      checkRotaryIsStated(assumed, tensors.keys())
      const parameters = planModelWeights(config, (name) => formatOf(tensors.get(names.get(name)!)!.dtype))
      prepare(parameters.layout.byteLength)
      return { names, parameters }
    },
  })
  const { config, assumed, chosenTokenizer, eosTokenIds } = files.config
  const tensors = pick(files.weights.names, files.tensors)
  checkScales(config, tensors)
  return {
    config,
    assumed,
    tokenizer: files.tokenizer ?? chosenTokenizer,
    eosTokenIds: files.generation ?? eosTokenIds ?? [],
    tensors,
    parameters: files.weights.parameters,
    unavailable: files.unavailable,
  }
}

/**
 * The packing plan, now that the values are known: according to the tensors' types, except that float16 with infinities
 * or NaN is packed as float32.
 */
export function* planForValues({ config, tensors, parameters }: ModelContents, scanner?: ByteScanner): Generator<void, ModelWeights> {
  const widened = yield* nonFiniteHalves(tensors, scanner)
  if (widened.size === 0) return parameters
  return planModelWeights(config, (name) => (widened.has(name) ? WeightFormat.Float32 : formatOf(tensors.get(name)!.dtype)))
}
