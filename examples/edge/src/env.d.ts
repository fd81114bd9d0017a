/** What may be set besides what wrangler.jsonc binds, from which `npx wrangler types` makes the rest. */
interface Env {
  API_KEYS?: string
  ORIGINS?: string
  REQUESTS_PER_MINUTE?: string | number
  MAX_TOKENS?: string | number
  MAX_PROMPT_TOKENS?: string | number
  MAX_CONVERSATION_TOKENS?: string | number
  MAX_MEMORY?: string | number
  MAX_WAIT?: string | number
  TRANSFER_SECRET?: string
  SNAPSHOT_INTERVAL?: string | number
  /** In place of the bucket. */
  ASSETS?: Fetcher
}
