import { Fields, integerBetween } from '../fields.js'
import { readGenerationFields } from '../generation-fields.js'
import { hexOf } from '../hex.js'
import { badField, HttpError } from '../http-error.js'
import { answerTexts, wordsText } from './answer-texts.js'
import type { ConversationFile, UncheckedConversation } from './conversation-file.js'
import { type Head, KEY_LENGTH, LASTING, type Turn, type TurnEnd, turnEnd, type TurnOptions } from './record.js'
import { tokenLimit, readDefaults, type Limits } from './turn-request.js'

/** Characters of the message that a turn ended with. */
const MESSAGE_LENGTH = 1000

/** The fields of a body that options of a turn come from. */
const FIELD_OF: Readonly<Record<keyof TurnOptions, string>> = {
  maxTokens: 'max_tokens',
  seed: 'seed',
  temperature: 'temperature',
  topP: 'top_p',
  topK: 'top_k',
  minP: 'min_p',
  stop: 'stop',
  repetitionPenalty: 'repetition_penalty',
  frequencyPenalty: 'frequency_penalty',
  presencePenalty: 'presence_penalty',
  logitBias: 'logit_bias',
  ignoreEos: 'ignore_eos',
}

/**
 * Checks what a file holds, which may be anybody's, as strictly as if it came turn by turn. What it says beside its
 * tokens is not believed: the texts of its answers are written anew, words are shown as ids if their text is another's,
 * and a snapshot without our signature is dropped, since it need not be what reading the tokens gives.
 * @throws HttpError 400 for what this server would not hold, 409 for another model's
 */
export function checkConversation(limits: Limits, { head, turns, snapshot, isSigned }: UncheckedConversation): ConversationFile {
  const checked = { head: checkHead(limits, head), turns: checkTurns(limits, turns) }
  return isSigned && snapshot ? { ...checked, snapshot } : checked
}

function checkHead(limits: Limits, value: unknown): Head {
  const fields = new Fields(value, 'head.')
  const model = fields.string('model')
  const defaults = readDefaults(limits, fields.get('defaults'))
  fields.refuseOthers()
  if (model !== hexOf(limits.model.fingerprint))
    throw new HttpError(409, 'CONFLICT', 'the conversation was held with another model than this', { param: 'head.model' })
  return { model, defaults }
}

function checkTurns(limits: Limits, value: unknown): Turn[] {
  const most = tokenLimit(limits)
  if (!Array.isArray(value) || value.length > most) throw badField('turns', `turns must be an array of at most ${most} turns`)
  const turns: Turn[] = []
  const keys = new Set<string>()
  /** All tokens so far. */
  const tokens: number[] = []
  for (const [number, given] of (value as unknown[]).entries()) {
    const fields = new Fields(given, `turns[${number}].`)
    const turn = checkTurn(limits, fields, number, tokens)
    if (turn.key !== null && keys.has(turn.key)) fields.refuse('key', turn.key, 'the key of no earlier turn')
    if (turn.key !== null) keys.add(turn.key)
    if (turnEnd(turn) > most)
      throw badField('turns', `a conversation may have ${most} tokens, and turns[${number}] ends with ${turnEnd(turn)}`)
    for (const id of turn.prompt) tokens.push(id)
    const texts = answerTexts(limits.model, tokens, turn)
    for (const id of turn.ids) tokens.push(id)
    turns.push({ ...turn, texts })
  }
  return turns
}

function checkTurn(limits: Limits, fields: Fields, number: number, before: readonly number[]): Turn {
  const { model } = limits
  const start = fields.number('start', integerBetween(before.length, before.length)) ?? fields.refuse('start', null, String(before.length))
  const prompt = readIds(fields, 'prompt', limits)
  if (start + prompt.length === 0) fields.refuse('prompt', prompt, 'at least one token in the first turn')
  const text = fields.string('text')
  const ids = readIds(fields, 'ids', limits)
  const options = checkTurnOptions(limits, fields)
  if (ids.length > options.maxTokens) fields.refuse('ids', ids, `at most max_tokens, which is ${options.maxTokens}`)
  const texts = fields.get('texts')
  if (!(Array.isArray(texts) && texts.length === ids.length && texts.every((one) => typeof one === 'string')))
    fields.refuse('texts', texts, 'a text for each of ids')
  const end = checkEnd(fields)
  if (end === 'read' && (number > 0 || ids.length > 0)) fields.refuse('end', end, "'read' for the first turn alone, without an answer")
  if ((end === 'stop' || end === 'length') && ids.length === 0) fields.refuse('ids', ids, 'the tokens of an answer')
  const turn = { start, ...checkKey(fields), text: text === undefined ? null : wordsText(model, prompt, text), prompt, options, ids, end }
  fields.refuseOthers()
  return { ...turn, texts }
}

function checkKey(fields: Fields): Pick<Turn, 'key' | 'asked'> {
  const key = fields.string('key') ?? null
  if (key !== null && (key === '' || key.length > KEY_LENGTH)) fields.refuse('key', key, `null, or 1 to ${KEY_LENGTH} characters`)
  const asked = fields.string('asked') ?? ''
  if (!/^[0-9a-f]{64}$/.test(asked)) fields.refuse('asked', asked, 'a SHA-256 digest')
  return { key, asked }
}

function readIds(fields: Fields, name: string, { model: { config } }: Limits): number[] {
  const value = fields.get(name)
  const isId = (id: unknown) => Number.isInteger(id) && (id as number) >= 0 && (id as number) < config.numTokens
  if (!(Array.isArray(value) && value.every(isId))) fields.refuse(name, value, `an array of token ids from 0 to ${config.numTokens - 1}`)
  return value as number[]
}

/** The options of a turn that is over: what other servers allow makes no difference any more. */
function checkTurnOptions({ model }: Limits, fields: Fields): TurnOptions {
  const { numTokens } = model.config
  const given = fields.get('options')
  const options = new Fields(given, 'options.')
  const values = Object.entries(FIELD_OF).map(([option, field]) => [field, options.get(option)])
  options.refuseOthers()
  const limits = { maxTokens: Number.MAX_SAFE_INTEGER, defaultMaxTokens: 0, numTokens }
  const { logitBias, seed, ...read } = readGenerationFields(new Fields(Object.fromEntries(values)), limits)
  if (seed === undefined) return fields.refuse('options', given, 'options with a seed')
  return { ...read, seed, logitBias: logitBias && Object.fromEntries(logitBias as ReadonlyMap<number, number>) }
}

function checkEnd(fields: Fields): TurnEnd {
  const end = fields.get('end')
  if (end === 'stop' || end === 'length' || end === 'read') return end
  const expected = "'stop', 'length', 'read' or an error: only turns that are over can be moved"
  if (typeof end !== 'object') return fields.refuse('end', end, expected)
  const error = fields.object('end')!
  const code = error.string('code') ?? ''
  const message = error.string('message') ?? ''
  error.refuseOthers()
  if (!LASTING.includes(code) || message.length > MESSAGE_LENGTH) fields.refuse('end', end, expected)
  return { code, message }
}
