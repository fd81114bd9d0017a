import { openRuntime } from './runtimes.js'
import { causalConfig, loadSmallModel, publishedConfig, randomTokens } from './small-models.js'

export const V = causalConfig.num_tokens

export const tokens = randomTokens(40, V)

export const kinds = [
  ['strictly causal', causalConfig],
  ['published', publishedConfig],
] as const

export async function setUp(config: Record<string, unknown> = causalConfig) {
  const runtime = openRuntime('baseline')
  const model = await loadSmallModel(runtime, config)
  return { runtime, model, [Symbol.dispose]: () => void runtime.dispose() }
}
