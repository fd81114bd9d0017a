// @ts-check

/** What is configured in wrangler.jsonc, or as secrets. @param {Env} env */
export function readSettings(env) {
  const list = (/** @type {string | undefined} */ text) =>
    (text ?? '')
      .split(',')
      .map((part) => part.trim())
      .filter(Boolean)
  const number = (/** @type {unknown} */ value) => (value === undefined || value === '' ? undefined : Number(value))
  const apiKeys = list(env.API_KEYS)
  const idleDays = number(env.IDLE_DAYS) ?? 30
  // else a conversation would expire at once, or never
  if (!(idleDays > 0 && idleDays < Infinity)) throw new Error(`IDLE_DAYS must be a number of days above 0, got ${env.IDLE_DAYS}`)
  return {
    idleDays,
    server: {
      modelName: env.MODEL,
      apiKeys,
      origins: list(env.ORIGINS),
      // by key; without keys, by address
      clientOf: apiKeys.length > 0 ? undefined : (/** @type {Request} */ request) => request.headers.get('cf-connecting-ip') ?? '',
      requestsPerMinute: number(env.REQUESTS_PER_MINUTE),
      maxTokens: number(env.MAX_TOKENS) ?? 1024,
      maxPromptTokens: number(env.MAX_PROMPT_TOKENS) ?? 8192,
      maxConversationTokens: number(env.MAX_CONVERSATION_TOKENS),
      maxChoices: 4,
      maxMemory: number(env.MAX_MEMORY),
      maxWait: number(env.MAX_WAIT),
      transferSecret: env.TRANSFER_SECRET,
      snapshotInterval: number(env.SNAPSHOT_INTERVAL),
    },
  }
}
