import type { LanguageModel } from '../index.js'
import { UsageError } from './failures.js'
import { anyNumber, flag, integerFrom, type NumberRule, number, type CommandOption, type OptionValues, texts } from './options.js'

const fromZero: NumberRule = { expected: 'a number from 0', fits: (value) => value >= 0 }
const aboveZero: NumberRule = { expected: 'a number above 0', fits: (value) => value > 0 }

/** `ID=BIAS`, any number of times. */
const logitBias: CommandOption<ReadonlyMap<number, number>> = {
  placeholder: 'ID=BIAS',
  help: 'Add this to the logit of the token with this id; -Infinity forbids it.',
  repeatable: true,
  read: (given, name) =>
    new Map(
      given.map((value) => {
        const [, id, bias = ''] = /^(\d+)=(.+)$/.exec(value) ?? []
        const pair = [Number(id), Number(bias)] as const
        if (id === undefined || bias.trim() === '' || Number.isNaN(pair[1]) || pair[1] === Infinity) {
          throw new UsageError(`--${name} takes a token id and a number, such as 42=-1.5; got ${JSON.stringify(value)}`)
        }
        return pair
      }),
    ),
}

const tokenIds: CommandOption<number[]> = {
  placeholder: 'ID',
  help: 'End at this token.',
  repeatable: true,
  read: (given, name) => given.map((value) => number(integerFrom(0), '').read([value], name)!),
}

/** How tokens are chosen, in order of application, and where a text ends. */
export const samplingOptions = {
  'max-tokens': number(integerFrom(0), 'Maximum number of tokens to generate. Default: 256.'),
  'repetition-penalty': number(
    aboveZero,
    'Divide the positive logits of tokens in the prompt or the text by this, and multiply negative ones. Default: 1.',
  ),
  'frequency-penalty': number(anyNumber, 'Subtract this from a token’s logit for each time it occurs in the text. Default: 0.'),
  'presence-penalty': number(anyNumber, 'Subtract this from the logit of each token that occurs in the text. Default: 0.'),
  'logit-bias': logitBias,
  temperature: number(fromZero, 'Divisor of the logits; 0 chooses the most probable token. Default: 1.'),
  'top-k': number(integerFrom(1), 'Choose among this many of the most probable tokens. Default: all.'),
  'top-p': number(
    { expected: 'a number above 0 and up to 1', fits: (value) => value > 0 && value <= 1 },
    'Choose among the fewest tokens whose probabilities sum to at least this. Default: 1.',
  ),
  'min-p': number(
    { expected: 'a number from 0 to 1', fits: (value) => value >= 0 && value <= 1 },
    'Choose among tokens at least this many times as probable as the most probable one. Default: 0.',
  ),
  seed: number(anyNumber, 'The same seed gives the same text. Default: a random one, given in the summary.'),
  stop: texts('TEXT', 'End before this text.'),
  'stop-token-id': tokenIds,
  'ignore-eos': flag('Continue past end-of-text tokens (eos_token_id of generation_config.json or config.json).'),
}

/**
 * The options as `LanguageModel.generate` accepts them.
 * @throws UsageError for the id of a token that the model does not have
 */
export function readSampling(values: OptionValues<typeof samplingOptions>, { config: { numTokens } }: LanguageModel) {
  const ids = { 'logit-bias': [...values['logit-bias'].keys()], 'stop-token-id': values['stop-token-id'] }
  for (const [name, given] of Object.entries(ids)) {
    const beyond = given.find((id) => id >= numTokens)
    if (beyond !== undefined) throw new UsageError(`--${name}: this model has tokens 0 to ${numTokens - 1}; got ${beyond}`)
  }
  return {
    maxTokens: values['max-tokens'],
    repetitionPenalty: values['repetition-penalty'],
    frequencyPenalty: values['frequency-penalty'],
    presencePenalty: values['presence-penalty'],
    logitBias: values['logit-bias'],
    temperature: values.temperature,
    topK: values['top-k'],
    topP: values['top-p'],
    minP: values['min-p'],
    stop: values.stop,
    stopTokenIds: values['stop-token-id'],
    ignoreEos: values['ignore-eos'],
  }
}
