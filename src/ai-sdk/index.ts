/** @packageDocumentation A language model for the AI SDK, in this process: `routed-attention/ai-sdk`. */
export type { RoutedAttentionProviderOptions } from './call-options.js'
export { createRoutedAttention } from './create-routed-attention.js'
export type { Constraint, RoutedAttentionOptions } from './options.js'
