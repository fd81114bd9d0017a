import { describe } from '../../errors.js'
import { badConfig } from '../config/config-fields.js'

/**
 * Reads `eos_token_id`, one id or several, from one of a model's files.
 * @returns undefined if it has none
 * @throws RoutedAttentionError `BAD_CONFIG` for anything but valid token ids
 */
export function readEosTokenIds(json: unknown, file: string, numTokens: number): readonly number[] | undefined {
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw badConfig(`${file} must hold an object, got ${describe(json)}`)
  const value: unknown = Object.hasOwn(json, 'eos_token_id') ? (json as Record<string, unknown>)['eos_token_id'] : undefined
  if (value === undefined || value === null) return undefined
  const ids: unknown[] = Array.isArray(value) ? value : [value]
  for (const id of ids) {
    if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= numTokens)
      throw badConfig(
        `${file}: eos_token_id must be an integer from 0 to ${numTokens - 1}, or a list of such integers, got ${describe(id)}`,
      )
  }
  return ids as number[]
}
