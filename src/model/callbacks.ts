import { describe, RoutedAttentionError } from '../errors.js'

/**
 * Checks what long calls have in common: an object of options, with what is called and what ends them.
 * @throws RoutedAttentionError `BAD_ARGUMENT`
 */
export function checkCallbacks(call: string, options: { onProgress?: unknown; signal?: unknown }): void {
  if (typeof options !== 'object' || options === null)
    throw new RoutedAttentionError('BAD_ARGUMENT', `${call}: options must be an object, got ${describe(options)}`)
  const { onProgress, signal } = options
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw new RoutedAttentionError('BAD_ARGUMENT', `${call}: onProgress must be a function, got ${describe(onProgress)}`)
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new RoutedAttentionError('BAD_ARGUMENT', `${call}: signal must be an AbortSignal, got ${describe(signal)}`)
  }
}
