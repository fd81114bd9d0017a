import { createRuntime } from '../device/create-runtime.js'
import { checkRuntime, type Runtime } from '../device/runtime.js'
import { describe, RoutedAttentionError } from '../errors.js'
import { checkReadOptions } from '../io/check-read-options.js'
import type { ModelSource, ReadOptions } from '../io/read-options.js'
import { namesOf } from '../options.js'
import { ModelInstaller, type Workload } from './placement/model-installer.js'
import type { ModelPlacement } from './placement/model-placement.js'
import { type ModelContents, readModel } from './read-model.js'
import { retryForMemory } from './retry-for-memory.js'
import { checkTokenizerKind, type TokenizerKind } from './text/choose-tokenizer.js'

/** Options of `LanguageModel.load`. */
export interface LoadOptions extends ReadOptions {
  /** Runtime to use; if omitted, the model creates one and disposes of it along with itself. */
  runtime?: Runtime | undefined
  /**
   * The main workload, used to choose between devices when the runtime has a choice (`device: 'auto'`): each runs a
   * sample of it, and the fastest is used. Default 'decode', one token at a time.
   */
  workload?: Workload | undefined
  /**
   * 'bytes': token ids are UTF-8 bytes; ids from 256 up have no text. Takes precedence over tokenizer.json, as does
   * `"tokenizer": "bytes"` in config.json. Default: the tokenizer of tokenizer.json.
   */
  tokenizer?: TokenizerKind | undefined
  /**
   * 'int8': rounds the weights of linear maps and of the token embedding as they arrive, as `quantizeModel` does, with
   * activations of 7 bits. Default: weights stay as they are in the file, as do those of a model that is quantized
   * already.
   */
  quantize?: 'int8' | undefined
}

/** The options that are not about reading files. */
const OWN_OPTIONS = namesOf<Omit<LoadOptions, keyof ReadOptions>>({ runtime: true, workload: true, tokenizer: true, quantize: true })

/** What a model is made of. */
export interface LoadedModel extends ModelContents {
  readonly runtime: Runtime
  readonly ownsRuntime: boolean
  readonly placement: ModelPlacement
}

/** Reads and installs a model. @throws RoutedAttentionError as `LanguageModel.load` does */
export async function loadModel(source: ModelSource, options: LoadOptions): Promise<LoadedModel> {
  checkReadOptions('load', options, OWN_OPTIONS)
  const { runtime: given, workload = 'decode', tokenizer: kind, quantize, ...readOptions } = options
  checkTokenizerKind(kind)
  if (quantize !== undefined && quantize !== 'int8')
    throw new RoutedAttentionError('BAD_ARGUMENT', `load: quantize must be 'int8', got ${describe(quantize)}`)
  if (workload !== 'decode' && workload !== 'prefill')
    throw new RoutedAttentionError('BAD_ARGUMENT', `load: workload must be 'decode' or 'prefill', got ${describe(workload)}`)
  if (given !== undefined) {
    checkRuntime(given)
    given.assertUsable()
  }
  const { signal } = readOptions
  let runtime = given
  let installer: ModelInstaller | undefined
  const check = () => {
    signal?.throwIfAborted()
    runtime!.assertUsable()
  }
  try {
    const contents = await readModel(
      source,
      readOptions,
      { tokenizer: kind, quantizes: quantize !== undefined },
      check,
      async (config, planFor) => {
        installer?.dispose()
        runtime ??= await createRuntime({ ...(signal && { signal }) })
        check()
        installer = await retryForMemory(() => new ModelInstaller(runtime!, config, planFor))
        installer.device.prepare?.()
        return installer
      },
    )
    check()
    const placement = await retryForMemory(() => installer!.place(workload, check))
    return { ...contents, runtime: runtime!, ownsRuntime: given === undefined, placement }
  } catch (error) {
    installer?.dispose()
    if (given === undefined) await runtime?.dispose()
    throw error
  }
}
