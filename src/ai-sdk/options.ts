import type { JSONSchema7, LanguageModelV4Prompt } from '@ai-sdk/provider'
import { describe, RoutedAttentionError } from '../errors.js'
import type { LogitsOptions } from '../model/generation/logits-adjuster.js'
import type { LanguageModel } from '../model/language-model.js'
import type { PrefixCache } from '../model/prefix-cache.js'
import type { TokenIds } from '../model/text/token-ids.js'
import { checkFunction, checkOptions, namesOf } from '../options.js'

/** What keeps one text to a form. */
export interface Constraint {
  /** Forbids the tokens that the form does not allow next, by -Infinity. */
  logitsProcessor: NonNullable<LogitsOptions['logitsProcessor']>
  /** Tokens that end the text once its form is complete, in addition to the model's end-of-text tokens. */
  stopTokenIds?: TokenIds | undefined
  /** Called when the text has ended, however it did. */
  dispose?: (() => void) | undefined
}

/** Options of `createRoutedAttention`. */
export interface RoutedAttentionOptions {
  /** Name of the model in results and telemetry; default 'routed-attention'. */
  modelId?: string | undefined
  /**
   * Makes the prompt from the messages. A text is encoded without special tokens, since users may have written parts of
   * it; a template that needs some returns token ids. Default: the texts of all messages, joined, so that an answer
   * continues the text.
   */
  prompt?: ((messages: LanguageModelV4Prompt) => string | TokenIds) | undefined
  /**
   * Makes a constraint for one text from the JSON schema of `responseFormat`; `{}`, which any JSON meets, if there is
   * none. Without this option calls that ask for JSON get a warning, and text in any form.
   */
  constrain?: ((schema: JSONSchema7) => Constraint | Promise<Constraint>) | undefined
  /** Reads what prompts have in common once; of the same model. Default: every call reads its whole prompt. */
  prefixCache?: PrefixCache | undefined
}

const OPTIONS = namesOf<RoutedAttentionOptions>({ modelId: true, prompt: true, constrain: true, prefixCache: true })

const CALL = 'createRoutedAttention'

/** @throws RoutedAttentionError `BAD_ARGUMENT` */
export function checkArguments(model: LanguageModel, options: RoutedAttentionOptions): void {
  const refuse = (what: string, came: unknown) => new RoutedAttentionError('BAD_ARGUMENT', `${CALL}: ${what}, got ${describe(came)}`)
  if (typeof (model as Partial<LanguageModel> | null)?.restoreSession !== 'function') throw refuse('model must be a LanguageModel', model)
  checkOptions(CALL, options, OPTIONS)
  const { modelId, prompt, constrain, prefixCache } = options
  if (modelId !== undefined && typeof modelId !== 'string') throw refuse('modelId must be a text', modelId)
  checkFunction(CALL, 'prompt', prompt)
  checkFunction(CALL, 'constrain', constrain)
  if (prefixCache !== undefined && (prefixCache as Partial<PrefixCache> | null)?.isOf?.(model) !== true)
    throw refuse('prefixCache must be a PrefixCache of this model', prefixCache)
}
