import { anyNumber, integerFrom, type NumberRule, number, type OptionValues, texts } from './options.js'

const fromZero: NumberRule = { expected: 'a number from 0', fits: (value) => value >= 0 }
/** How tokens are chosen, and where a text ends. */
export const samplingOptions = {
  'max-tokens': number(integerFrom(0), 'Most tokens to write. Default: 256.'),
  temperature: number(fromZero, 'What logits are divided by; 0 takes the most probable token. Default: 1.'),
  'top-k': number(integerFrom(1), 'Choose among this many of the most probable tokens. Default: all.'),
  'top-p': number(
    { expected: 'a number above 0 and up to 1', fits: (value) => value > 0 && value <= 1 },
    'Choose among the fewest tokens whose probabilities sum to this. Default: 1.',
  ),
  seed: number(anyNumber, 'The same seed gives the same text. Default: a new one each time; the summary tells it.'),
  stop: texts('TEXT', 'End before this text.'),
}

/** The options as `LanguageModel.generate` takes them. */
export function readSampling(values: OptionValues<typeof samplingOptions>) {
  return {
    maxTokens: values['max-tokens'],
    temperature: values.temperature,
    topK: values['top-k'],
    topP: values['top-p'],
    stop: values.stop,
  }
}
