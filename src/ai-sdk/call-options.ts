import type { LanguageModelV4CallOptions, SharedV4Warning } from '@ai-sdk/provider'
import type { GenerateOptions } from '../model/generation/generate-options.js'
import { checkOptions, namesOf } from '../options.js'

/** Options of a call that the AI SDK has no names for: `providerOptions: { routedAttention: { … } }`. */
export type RoutedAttentionProviderOptions = Pick<
  GenerateOptions,
  'minP' | 'repetitionPenalty' | 'logitBias' | 'stopTokenIds' | 'ignoreEos'
>

/** The key of `providerOptions` that is this model's. */
const KEY = 'routedAttention'

const PROVIDER_OPTIONS = namesOf<RoutedAttentionProviderOptions>({
  minP: true,
  repetitionPenalty: true,
  logitBias: true,
  stopTokenIds: true,
  ignoreEos: true,
})

/**
 * A call's options under the names of `model.generate`, whose defaults apply.
 * @throws RoutedAttentionError `BAD_ARGUMENT` for unknown provider options
 */
export function generateOptionsOf(call: LanguageModelV4CallOptions): GenerateOptions {
  const own: object = call.providerOptions?.[KEY] ?? {}
  checkOptions(`providerOptions.${KEY}`, own, PROVIDER_OPTIONS)
  return {
    maxTokens: call.maxOutputTokens,
    temperature: call.temperature,
    topK: call.topK,
    topP: call.topP,
    seed: call.seed,
    frequencyPenalty: call.frequencyPenalty,
    presencePenalty: call.presencePenalty,
    stop: call.stopSequences,
    ...own,
  }
}

/** A warning for each option of a call that has no effect here. */
export function warningsOf(call: LanguageModelV4CallOptions, canConstrain: boolean): SharedV4Warning[] {
  const warnings: SharedV4Warning[] = []
  const { tools, reasoning, responseFormat } = call
  if (tools && tools.length > 0) warnings.push(unsupported('tools', 'the model is not given them, and calls none'))
  if (reasoning !== undefined && reasoning !== 'provider-default' && reasoning !== 'none') warnings.push(unsupported('reasoning'))
  if (responseFormat?.type === 'json' && !canConstrain)
    warnings.push(unsupported('responseFormat', 'give createRoutedAttention a constraint for JSON; without one, text may have any form'))
  return warnings
}

export function unsupported(feature: string, details?: string): SharedV4Warning {
  return { type: 'unsupported', feature, ...(details !== undefined && { details }) }
}
