import type { GeneratedToken } from '../../src/index.js'
import { causalConfig, publishedConfig, randomTokens } from './small-models.js'

export const V = causalConfig.num_tokens

export const prompt = randomTokens(12, V, 5)

export const kinds = [
  ['strictly causal', causalConfig],
  ['published', publishedConfig],
] as const

export async function collect(tokens: AsyncIterable<GeneratedToken>): Promise<GeneratedToken[]> {
  const all: GeneratedToken[] = []
  for await (const token of tokens) all.push(token)
  return all
}

export const idsOf = (tokens: readonly GeneratedToken[]) => tokens.map(({ id }) => id)
