import { RoutedAttentionError } from '../errors.js'

/** The error for a caller's bytes that existed when a load began and no longer do. */
export function detachedError(what: string): RoutedAttentionError {
  return new RoutedAttentionError(
    'BAD_FILE',
    `the bytes of ${what} are gone: their buffer was transferred or shrunk while the model was loading; ` +
      'pass a copy, or wait until load has finished',
  )
}
