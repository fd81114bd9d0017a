import { RoutedAttentionError } from '../errors.js'
import type { StoredTensor } from './safetensors.js'

/** The error for a caller's bytes that existed when a load began and no longer do. */
export function movedAway(what: string): RoutedAttentionError {
  return new RoutedAttentionError(
    'BAD_FILE',
    `the bytes of ${what} are gone: their buffer was transferred or shrunk while the model was loading; ` +
      'pass a copy, or wait until load has finished',
  )
}

/**
 * Views of a buffer that was transferred, or shrunk below them, become empty.
 * @throws RoutedAttentionError `BAD_FILE` if that has happened to a tensor
 */
export function checkStillThere(tensors: ReadonlyMap<string, StoredTensor>): void {
  for (const [name, { shape, bytes }] of tensors) if (bytes.length === 0 && shape.every((length) => length > 0)) throw movedAway(name)
}
