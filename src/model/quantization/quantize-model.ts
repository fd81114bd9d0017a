import { runInSlices } from '../../event-loop.js'
import { describe, RoutedAttentionError } from '../../errors.js'
import { readModelFiles } from '../../io/model-files.js'
import { checkReadOptions } from '../../io/check-read-options.js'
import type { ModelSource, ReadOptions } from '../../io/read-options.js'
import type { StoredTensor } from '../../io/safetensors.js'
import { writeSafetensors } from '../../io/write-safetensors.js'
import { namesOf } from '../../options.js'
import type { ActivationBits } from '../../plan/config.js'
import { modelParameters } from '../../plan/parameters.js'
import { parseModelConfig } from '../config/config.js'
import { matchStoredTensors, pick } from '../parameters/state-dict.js'
import { writeQuantizationConfig } from '../config/quantization-config.js'
import { DEFAULT_ACTIVATION_BITS, quantizeParameter, scaleName, scaleShape } from './quantized-parameters.js'

/** Options of `quantizeModel`. */
export interface QuantizeOptions extends ReadOptions {
  /** Bits that activations are rounded to where kernels multiply integers: 7 or 14. Default 7. */
  activationBits?: ActivationBits | undefined
}

/** The options that are not about reading files. */
const OWN_OPTIONS = namesOf<Omit<QuantizeOptions, keyof ReadOptions>>({ activationBits: true })

/**
 * Rounds a model's linear maps and token embedding to int8, about a quarter of float32's size: symmetrically, with a
 * float32 scale for each output channel of a linear map and each row of the embedding. All else stays as it is. The
 * same model gives the same bytes.
 * @param source as `LanguageModel.load` takes it
 * @returns the new model's files by name, as `LanguageModel.load` takes them: config.json with a `quantization_config`
 * in the convention of compressed-tensors, model.safetensors, and tokenizer.json and generation_config.json if there are
 * any
 * @throws RoutedAttentionError as `LanguageModel.load` does; `UNSUPPORTED` if the model is quantized already,
 * `BAD_WEIGHTS` for a weight that is not finite
 */
export async function quantizeModel(source: ModelSource, options: QuantizeOptions = {}): Promise<Map<string, Uint8Array>> {
  checkReadOptions('quantizeModel', options, OWN_OPTIONS)
  const { activationBits = DEFAULT_ACTIVATION_BITS, ...readOptions } = options
  if (activationBits !== 7 && activationBits !== 14)
    throw new RoutedAttentionError('BAD_ARGUMENT', `quantizeModel: activationBits must be 7 or 14, got ${describe(activationBits)}`)
  const files = await readModelFiles(source, readOptions, {
    config: (json) => {
      const config = parseModelConfig(json)
      if (config.quantization) throw new RoutedAttentionError('UNSUPPORTED', 'quantizeModel: the model is quantized already')
      return { json: json as Record<string, unknown>, config }
    },
    generation: (json) => json,
    weights: (tensors, { config }) => matchStoredTensors(modelParameters(config), tensors),
  })
  const { json, config } = files.config
  const stored = pick(files.weights, files.tensors)
  const quantized = await runInSlices(quantizeTensors(), () => readOptions.signal?.throwIfAborted())
  const written = new Map<string, Uint8Array>()
  if (files.tokenizer) written.set('tokenizer.json', files.tokenizer)
  if (files.generation !== undefined) written.set('generation_config.json', jsonBytes(files.generation))
  written.set('model.safetensors', writeSafetensors(quantized, { format: 'pt' }))
  // last: a folder written in this order is whole once it has one
  written.set('config.json', configBytes(json, activationBits))
  return written

  function* quantizeTensors(): Generator<void, Map<string, StoredTensor>> {
    const tensors = new Map<string, StoredTensor>()
    for (const parameter of modelParameters(config)) {
      const { name, shape } = parameter
      const tensor = stored.get(name)!
      if (!parameter.isQuantizable) {
        tensors.set(name, tensor)
        continue
      }
      const rows = quantizeParameter(name, tensor, shape[0]!)
      tensors.set(name, { dtype: 'I8', shape, bytes: new Uint8Array(rows.values.buffer) })
      tensors.set(scaleName(name), { dtype: 'F32', shape: scaleShape(shape), bytes: new Uint8Array(rows.scales.buffer) })
      yield
    }
    return tensors
  }
}

/** The same quantized model with activations of other bits. */
export function withActivationBits(files: ReadonlyMap<string, Uint8Array>, activationBits: ActivationBits): Map<string, Uint8Array> {
  const json = JSON.parse(new TextDecoder().decode(files.get('config.json'))) as Record<string, unknown>
  return new Map([...files, ['config.json', configBytes(json, activationBits)]])
}

function configBytes(json: Record<string, unknown>, activationBits: ActivationBits): Uint8Array {
  return jsonBytes({ ...json, quantization_config: writeQuantizationConfig({ activationBits }) })
}

function jsonBytes(value: unknown): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`)
}
