import type { Device } from '../device/device.js'
import { WeightFormat } from '../device/device.js'
import { type ParsedFiles, streamModelFiles } from '../io/model-files.js'
import type { ModelSource, ReadOptions } from '../io/read-options.js'
import { createTokenizer, type ModelTokenizer } from '../io/tokenizer.js'
import { planModelWeights } from '../plan/memory/model-weights.js'
import { type AssumedDefaults, assumedDefaults, checkRotaryIsStated, type ModelConfig, parseModelConfig } from './config/config.js'
import { formatOf, ParameterStream, type RowSink } from './parameters/parameter-stream.js'
import { matchStoredTensors } from './parameters/state-dict.js'
import type { PlanWeights } from './placement/model-installer.js'
import { DEFAULT_ACTIVATION_BITS, storedSpecs } from './quantization/quantized-parameters.js'
import { chooseTokenizer, type TokenizerKind } from './text/choose-tokenizer.js'
import { readEosTokenIds } from './text/eos-token-ids.js'
import { checkTokenizerFits } from './text/tokenizer-fit.js'

/** The contents of a model's files, except its weights. */
export interface ModelContents {
  readonly config: ModelConfig
  readonly assumed: AssumedDefaults
  readonly tokenizer: ModelTokenizer | undefined
  readonly eosTokenIds: readonly number[]
  /** Identifies the configuration and the weights. */
  readonly fingerprint: Uint8Array
  readonly unavailable: ParsedFiles<unknown, unknown, unknown, unknown>['unavailable']
}

/** Where a model's weights go. */
export interface WeightsTarget extends RowSink {
  /** The device that scans bytes, if it does. */
  readonly device: Device
}

/**
 * Makes room for a model's weights: called once their tensors' headers are known, and again if they must be read again;
 * what was there before is not needed then.
 */
export type OpenWeights = (config: ModelConfig, planFor: PlanWeights) => Promise<WeightsTarget>

/** What the caller's options override in the files. */
export interface ModelOverrides {
  readonly tokenizer: TokenizerKind | undefined
  /** Whether float weights are rounded to int8. */
  readonly quantizes: boolean
}

/**
 * Reads a model's files, checking each before anything larger is read. Weights are packed as they arrive. Float16 is
 * packed as it is unless it holds infinities or NaN, which is known only once it has arrived: then everything is read
 * again, and such tensors are packed as float32.
 * @param check called with each piece of the weights; throws if the load should end
 * @throws RoutedAttentionError as `LanguageModel.load` does
 */
export async function readModel(
  source: ModelSource,
  options: ReadOptions,
  { tokenizer: kind, quantizes }: ModelOverrides,
  check: () => void,
  openWeights: OpenWeights,
): Promise<ModelContents> {
  const nonFinite = new Set<string>()
  const files = await streamModelFiles(source, options, {
    config: (json) => {
      const stored = parseModelConfig(json)
      const isRounded = quantizes && stored.quantization === undefined
      const config = isRounded ? { ...stored, quantization: { activationBits: DEFAULT_ACTIVATION_BITS } as const } : stored
      return {
        stored,
        config,
        isRounded,
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
    weights: async (tensors, { stored, config, isRounded, assumed }) => {
      const names = matchStoredTensors(storedSpecs(stored), tensors)
      checkRotaryIsStated(assumed, tensors.keys())
      const planFor: PlanWeights = ({ multipliesInt8 }) =>
        planModelWeights(config, ({ name, isQuantizable }) => {
          const format = isRounded && isQuantizable ? WeightFormat.Int8 : formatOf(tensors.get(names.get(name)!)!.dtype)
          return nonFinite.has(name) || (format === WeightFormat.Int8 && !multipliesInt8) ? WeightFormat.Float32 : format
        })
      const target = await openWeights(config, planFor)
      return new ParameterStream({ config, tensors, names, isRounded, nonFinite }, target, target.device.scanner, check)
    },
  })
  const { config, assumed, chosenTokenizer, eosTokenIds } = files.config
  return {
    config,
    assumed,
    tokenizer: files.tokenizer ?? chosenTokenizer,
    eosTokenIds: files.generation ?? eosTokenIds ?? [],
    fingerprint: files.weights.fingerprint(),
    unavailable: files.unavailable,
  }
}
