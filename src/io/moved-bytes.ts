import { RoutedAttentionError } from '../errors.js'
import type { StoredTensor } from './safetensors.js'

/** The error for bytes of a caller's that were there when a load began, and are not any more. */
export function movedAway(what: string): RoutedAttentionError {
  return new RoutedAttentionError(
    'BAD_FILE',
    `the bytes of ${what} are not there any more: they were transferred away, or their buffer was shrunk, while the model was loaded; ` +
      'pass a copy, or wait until load has settled',
  )
}

/**
 * Views of a buffer that was transferred, or shrunk below them, have no bytes.
 * @throws RoutedAttentionError `BAD_FILE` when that has happened to a tensor
 */
export function checkStillThere(tensors: ReadonlyMap<string, StoredTensor>): void {
  for (const [name, { shape, bytes }] of tensors) if (bytes.length === 0 && shape.every((length) => length > 0)) throw movedAway(name)
}
