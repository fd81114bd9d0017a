import { reasonOf, RoutedAttentionError } from '../errors.js'
import { isArrayBuffer } from '../realm.js'
import { foreignFormat } from './foreign-format.js'

/** Maximum size of a JSON file: the limit that safetensors sets for its header. */
export const MAX_JSON_BYTES = 100_000_000

/**
 * @param what description of the bytes, for messages
 * @param ignoreBOM true keeps a leading byte order mark as a character, false drops it
 * @throws RoutedAttentionError `BAD_FILE` if the bytes are not UTF-8
 */
export function decodeUtf8(bytes: Uint8Array, what: string, ignoreBOM = false): string {
  // TextDecoder refuses views of shared memory in most engines.
  const own = isArrayBuffer(bytes.buffer) ? bytes : new Uint8Array(bytes)
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM }).decode(own)
  } catch (cause) {
    throw new RoutedAttentionError('BAD_FILE', `${what} is not UTF-8 text`, { cause })
  }
}

/** @throws RoutedAttentionError `BAD_FILE` if the bytes are not JSON in UTF-8 */
export function parseJson(bytes: Uint8Array, what: string): unknown {
  if (bytes.length > MAX_JSON_BYTES) {
    throw new RoutedAttentionError('BAD_FILE', `${what} has ${bytes.length} bytes, more than the ${MAX_JSON_BYTES} expected of a JSON file`)
  }
  try {
    return JSON.parse(decodeUtf8(bytes, what)) as unknown
  } catch (cause) {
    const foreign = foreignFormat(bytes)
    if (foreign !== undefined) throw new RoutedAttentionError('BAD_FILE', `${what} is not JSON but ${foreign}`, { cause })
    if (cause instanceof RoutedAttentionError) throw cause
    throw new RoutedAttentionError('BAD_FILE', `${what} is not JSON: ${reasonOf(cause)}`, { cause })
  }
}
