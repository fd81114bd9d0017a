import { describe, RoutedAttentionError } from '../../errors.js'
import { typedArrayKind } from '../../realm.js'

/** Token ids accepted from callers: plain numbers, or any integer typed array except the 64-bit ones. */
export type TokenIds = readonly number[] | Int8Array | Uint8Array | Uint8ClampedArray | Int16Array | Uint16Array | Int32Array | Uint32Array

function isTokenIds(value: unknown): value is ArrayLike<unknown> {
  return Array.isArray(value) || /^(Int|Uint)(8|8Clamped|16|32)Array$/.test(typedArrayKind(value) ?? '')
}

/**
 * Checks token ids and copies them.
 * @throws RoutedAttentionError `BAD_ARGUMENT` naming the first that is not an integer in [0, numTokens),
 * `OUT_OF_MEMORY`
 */
export function checkTokenIds(name: string, value: unknown, numTokens: number): Int32Array {
  if (!isTokenIds(value)) {
    throw new RoutedAttentionError(
      'BAD_ARGUMENT',
      `${name}: token ids must be an array of numbers or an integer typed array, got ${describe(value)}`,
    )
  }
  const tokenIds = allocate(name, value.length)
  for (let i = 0; i < value.length; i++) {
    const id = value[i]
    if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= numTokens) {
      throw new RoutedAttentionError(
        'BAD_ARGUMENT',
        `${name}: token id ${i} must be an integer from 0 to ${numTokens - 1}, got ${describe(id)}`,
      )
    }
    tokenIds[i] = id as number
  }
  return tokenIds
}

/**
 * The id, if the value is a single valid id, which needs no copy; -1 for anything that `checkTokenIds` must examine.
 */
export function singleTokenId(value: unknown, numTokens: number): number {
  if (!isTokenIds(value) || value.length !== 1) return -1
  const id = value[0]
  return Number.isInteger(id) && (id as number) >= 0 && (id as number) < numTokens ? (id as number) : -1
}

function allocate(name: string, length: number): Int32Array {
  try {
    return new Int32Array(length)
  } catch (cause) {
    throw new RoutedAttentionError('OUT_OF_MEMORY', `${name}: cannot allocate a copy of ${length} token ids`, { cause })
  }
}
