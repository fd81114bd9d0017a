import type { LanguageModelV4, LanguageModelV4CallOptions, SharedV4Warning } from '@ai-sdk/provider'
import type { LanguageModel } from '../model/language-model.js'
import { checkSignal } from '../options.js'
import { generateOptionsOf, warningsOf } from './call-options.js'
import { checkArguments, type RoutedAttentionOptions } from './options.js'
import { encodePrompt } from './prompt.js'
import { streamOf } from './stream.js'
import { Turn } from './turn.js'

const PROVIDER = 'routed-attention'

/**
 * A language model for the AI SDK (`generateText`, `streamText` and what is built on them) that runs in this process, in
 * a page or on a server. Calls may overlap. The model remains the caller's.
 *
 * Calls reject with RoutedAttentionError, as those of `model.generate` do, and with the reason of `abortSignal`. What
 * the model cannot do (tools, files, reasoning, JSON without a constraint) is left out, with a warning.
 * @throws RoutedAttentionError `BAD_ARGUMENT`
 */
export function createRoutedAttention(model: LanguageModel, options: RoutedAttentionOptions = {}): LanguageModelV4 {
  checkArguments(model, options)
  const { modelId = PROVIDER, prompt, constrain, prefixCache } = options

  const begin = (call: LanguageModelV4CallOptions): { turn: Turn; warnings: SharedV4Warning[] } => {
    const { abortSignal, responseFormat } = call
    checkSignal('abortSignal', abortSignal)
    abortSignal?.throwIfAborted()
    const warnings = warningsOf(call, constrain !== undefined)
    const ids = encodePrompt(model, prompt, call.prompt, warnings)
    const isConstrained = constrain !== undefined && responseFormat?.type === 'json'
    const turn = new Turn({
      model,
      ids,
      options: generateOptionsOf(call),
      abortSignal,
      prefixCache,
      constrain: isConstrained ? () => constrain(responseFormat.schema ?? {}) : undefined,
    })
    return { turn, warnings }
  }
  const metadata = () => ({ modelId, timestamp: new Date() })

  return {
    specificationVersion: 'v4',
    provider: PROVIDER,
    modelId,
    supportedUrls: {},

    async doStream(call) {
      const { turn, warnings } = begin(call)
      const opening = [
        { type: 'stream-start', warnings },
        { type: 'response-metadata', ...metadata() },
      ] as const
      return { stream: streamOf(turn, opening, call.includeRawChunks === true) }
    },

    async doGenerate(call) {
      const { turn, warnings } = begin(call)
      let text = ''
      for await (const token of turn.tokens()) text += token.text
      const { finishReason, usage } = turn
      return { content: [{ type: 'text', text }], finishReason, usage, warnings, response: metadata() }
    },
  }
}
