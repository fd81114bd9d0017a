/** A conversation that is not there. */
const unknown = `/v1/conversations/conv_${'A'.repeat(32)}`
/** Requests that are refused, and the statuses that say so. @type {[method: string, path: string, body: string | object | undefined, headers: Record<string, string>, status: number][]} */
export const RUBBISH = [
  ['POST', '/v1/conversations', '{"prompt": ', {}, 400],
  ['POST', '/v1/conversations', '[]', {}, 400],
  ['POST', '/v1/conversations', { prompt: 1e300 }, {}, 400],
  ['POST', '/v1/conversations', 'prompt=a', { 'content-type': 'application/x-www-form-urlencoded' }, 415],
  ['POST', '/v1/conversations', { nonsense: true }, {}, 400],
  ['POST', `${unknown}/turns`, { prompt: 'a' }, { 'idempotency-key': 'a' }, 404],
  ['GET', `${unknown}/events`, undefined, { 'last-event-id': '\t ' }, 404],
  ['GET', '/v1/conversations/../../etc/passwd', undefined, {}, 404],
  ['DELETE', unknown, undefined, {}, 404],
  ['DELETE', '/v1/conversations', undefined, {}, 405],
  ['PUT', `${unknown}/turns`, { prompt: 'a' }, {}, 405],
  ['POST', '/v1/completions', { prompt: 'a', max_tokens: -1 }, {}, 400],
  ['POST', '/v1/completions', { prompt: ['a', 3] }, {}, 400],
  ['POST', '/v1/completions', `{"prompt": "${'a'.repeat(2 ** 20)}"}`, {}, 413],
  ['GET', '/', undefined, {}, 404],
]
