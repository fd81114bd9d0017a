/** @packageDocumentation The public API of routed-attention. */
export { createRuntime, type RuntimeOptions } from './device/create-runtime.js'
export type { Runtime, RuntimeInfo } from './device/runtime.js'
export { type ErrorCode, type ErrorDetails, RoutedAttentionError } from './errors.js'
export { readSafetensors } from './io/safetensors.js'
export type { EncodeOptions, Tokenizer } from './io/tokenizer.js'
export type { CacheLike, Fetch, FileLike, LoadProgress, ModelSource, ReadOptions } from './io/read-options.js'
export type { TokenizerKind } from './model/text/choose-tokenizer.js'
export type { AssumedDefaults, LayerOptions, ModelConfig } from './model/config/config.js'
export type { ActivationBits, LayerConfig, Quantization, SelectionMethod } from './plan/config.js'
export type { AppendOptions, AppendResult } from './model/append-options.js'
export type { EvaluateOptions, EvaluateProgress, Evaluation } from './model/evaluate.js'
export type { Completion } from './model/generation/complete.js'
export type { FinishReason, GeneratedToken } from './model/generation/generate.js'
export type { GenerateOptions, PromptProgress } from './model/generation/generate-options.js'
export type { InspectOptions, Inspection, LayerInspection } from './model/inspection.js'
export { LanguageModel, type ModelForwardOptions } from './model/language-model.js'
export type { LoadOptions } from './model/load-model.js'
export type { Workload } from './model/placement/model-installer.js'
export { type ForwardOptions, type LayerTrace, MixtureOfAutoregressiveAttention } from './model/layer.js'
export {
  type OpenedPrefix,
  PrefixCache,
  type PrefixCacheOptions,
  type PrefixReading,
  type PrefixReadOptions,
} from './model/prefix-cache.js'
export { quantizeModel, type QuantizeOptions } from './model/quantization/quantize-model.js'
export type { LogitsOptions } from './model/generation/logits-adjuster.js'
export type { TokenLogprob } from './model/generation/logprob-reader.js'
export type { SamplingOptions } from './model/generation/sampling-options.js'
export type { Session } from './model/session.js'
export type { TokenIds } from './model/text/token-ids.js'
export type { FetchResponse, Signal, Url, WasmModule } from './platform.js'
export { Tensor } from './tensor.js'
