import type { LanguageModel } from '../../src/model/language-model.js'
import type { Session } from '../../src/model/session.js'
import { causalConfig, partlyRoutedConfig, publishedConfig, randomTokens } from './small-models.js'

export const V = causalConfig.num_tokens

export const tokens = randomTokens(64, V)

export const others = randomTokens(64, V, 2)

export const kinds = [
  ['strictly causal', causalConfig],
  ['partly routed', partlyRoutedConfig],
  ['published', publishedConfig],
] as const

export async function sessionAfter(model: LanguageModel, ids: number[]): Promise<Session> {
  const session = model.createSession()
  if (ids.length > 0) await session.append(ids)
  return session
}
