import { describe, RoutedAttentionError } from '../errors.js'
import { checkFunction, checkOptions, namesOf } from '../options.js'
import type { FetchRequest } from '../platform.js'
import type { LogEntry } from './log.js'
import { MemoryStore } from './stores/memory-store.js'
import type { ConversationStore } from './stores/store.js'

/** Options of `createHandler`. */
export interface HandlerOptions {
  /** The model's name in requests and answers; default 'routed-attention'. */
  modelName?: string | undefined
  /**
   * Keys of which a request must show one, as `Authorization: Bearer KEY`; none empty. Everything but `/health` needs it.
   * Each key has a prefix cache of its own, since its timing tells what others have sent. Default: no key is needed.
   */
  apiKeys?: readonly string[] | undefined
  /**
   * Origins whose pages may send requests, such as 'https://example.com'; '*' for all. A request with another `Origin` is
   * refused. Default: none, so that no page can.
   */
  origins?: readonly string[] | undefined
  /**
   * Says who a request is counted for by `requestsPerMinute`, such as its address; anything it throws refuses the
   * request. Default: the key it shows.
   */
  clientOf?: ((request: FetchRequest) => string) | undefined
  /** Requests of one client within a minute, on average and at once; default: no limit. */
  requestsPerMinute?: number | undefined
  /** Bytes of a request's body; default 1 MiB. */
  maxBodyBytes?: number | undefined
  /** Tokens of a prompt; default 16,384. */
  maxPromptTokens?: number | undefined
  /** Largest `max_tokens` of a request; default 4,096. */
  maxTokens?: number | undefined
  /** Sequences in one request: its prompts times `n`; default 16. */
  maxChoices?: number | undefined
  /** Sequences that are read or continued at the same time; others wait. Default 16. */
  maxConcurrent?: number | undefined
  /** Requests that may wait, beyond which they are refused with 503; default 64. On edge workers it must be 0. */
  maxQueue?: number | undefined
  /**
   * Bytes of `runtime.info.memory.used` beyond which no sequence is begun: such requests are refused with 503. Default 3
   * GiB; WebAssembly ends at 4.
   */
  maxMemory?: number | undefined
  /** Where conversations are kept; default: a `MemoryStore`, which ends with the process. The caller's to close. */
  store?: ConversationStore | undefined
  /** Tokens of a conversation, words and answers; default 65,536. */
  maxConversationTokens?: number | undefined
  /** Bytes of a conversation that comes as a file; default 8 MiB. */
  maxImportBytes?: number | undefined
  /**
   * At least 32 characters that nobody guesses, the same on all servers that conversations are moved between. Files are
   * signed with it, and those so signed bring a snapshot, so that their tokens need not be read again. Default: files have
   * no snapshot, and one that comes with a snapshot loses it.
   */
  transferSecret?: string | undefined
  /**
   * Bytes of the runtime's memory that conversations may keep between turns, so that the next turn need not be restored;
   * default 128 MiB.
   */
  maxIdleMemory?: number | undefined
  /**
   * Bytes of what is remembered of prompts, so that those that begin alike are read once; default 256 MiB. Each key has an
   * equal share. 0 remembers nothing.
   */
  maxCacheBytes?: number | undefined
  /**
   * Milliseconds after which a client that neither sends the rest of its body nor reads its answer is given up; default
   * 30,000.
   */
  stallTimeout?: number | undefined
  /** Called once for each request, when it has ended. It gets neither ids nor texts, nor addresses; what it throws is ignored. */
  log?: ((entry: LogEntry) => void) | undefined
}

/** The checked options. */
export interface Settings {
  readonly modelName: string
  readonly apiKeys: readonly string[]
  readonly origins: readonly string[]
  readonly clientOf: HandlerOptions['clientOf']
  readonly requestsPerMinute: number
  readonly maxBodyBytes: number
  readonly maxPromptTokens: number
  readonly maxTokens: number
  readonly maxChoices: number
  readonly maxConcurrent: number
  readonly maxQueue: number
  readonly maxMemory: number
  readonly store: ConversationStore
  readonly maxConversationTokens: number
  readonly maxImportBytes: number
  readonly transferSecret: string | undefined
  readonly maxIdleMemory: number
  readonly maxCacheBytes: number
  readonly stallTimeout: number
  readonly log: HandlerOptions['log']
}

const HANDLER_OPTIONS = namesOf<HandlerOptions>({
  modelName: true,
  apiKeys: true,
  origins: true,
  clientOf: true,
  requestsPerMinute: true,
  maxBodyBytes: true,
  maxPromptTokens: true,
  maxTokens: true,
  maxChoices: true,
  maxConcurrent: true,
  maxQueue: true,
  maxMemory: true,
  store: true,
  maxConversationTokens: true,
  maxImportBytes: true,
  transferSecret: true,
  maxIdleMemory: true,
  maxCacheBytes: true,
  stallTimeout: true,
  log: true,
})

/** Characters of a secret: as many as SHA-256 has bytes. */
const SECRET_LENGTH = 32

/** The longest delay of a timer. */
const MAX_TIMEOUT = 2 ** 31 - 1

/** @throws RoutedAttentionError `BAD_ARGUMENT` */
export function resolveOptions(options: HandlerOptions): Settings {
  checkOptions(CALL, options, HANDLER_OPTIONS)
  const {
    modelName = 'routed-attention',
    apiKeys = [],
    origins = [],
    clientOf,
    requestsPerMinute,
    stallTimeout = 30_000,
    store,
    transferSecret,
    log,
  } = options
  checkFunction(CALL, 'clientOf', clientOf)
  checkFunction(CALL, 'log', log)
  check('modelName', modelName, isText(modelName), 'a non-empty string')
  check('apiKeys', apiKeys, isListOf(apiKeys, isText), 'an array of non-empty strings')
  check('origins', origins, isListOf(origins, isOrigin), "an array of origins, such as 'https://example.com', or '*'")
  check('store', store, store === undefined || isStore(store), 'an object with the methods read, write and delete')
  const isSecret = transferSecret === undefined || (isText(transferSecret) && transferSecret.length >= SECRET_LENGTH)
  check('transferSecret', transferSecret, isSecret, `a string of at least ${SECRET_LENGTH} characters`)
  const isRate = requestsPerMinute === undefined || (Number.isFinite(requestsPerMinute) && requestsPerMinute > 0)
  check('requestsPerMinute', requestsPerMinute, isRate, 'a number above 0')
  const isTimeout = Number.isSafeInteger(stallTimeout) && stallTimeout > 0 && stallTimeout <= MAX_TIMEOUT
  check('stallTimeout', stallTimeout, isTimeout, `an integer from 1 to ${MAX_TIMEOUT}`)
  const maxConcurrent = integer(options, 'maxConcurrent', 16)
  const maxChoices = integer(options, 'maxChoices', Math.min(16, maxConcurrent))
  check('maxChoices', maxChoices, maxChoices <= maxConcurrent, `at most maxConcurrent, which is ${maxConcurrent}`)
  return {
    modelName,
    apiKeys: [...apiKeys],
    origins: [...origins],
    clientOf,
    requestsPerMinute: requestsPerMinute ?? Infinity,
    maxBodyBytes: integer(options, 'maxBodyBytes', 2 ** 20),
    maxPromptTokens: integer(options, 'maxPromptTokens', 16_384),
    maxTokens: integer(options, 'maxTokens', 4096),
    maxChoices,
    maxConcurrent,
    maxQueue: integer(options, 'maxQueue', 64, 0),
    maxMemory: integer(options, 'maxMemory', 3 * 2 ** 30),
    store: store ?? new MemoryStore(),
    maxConversationTokens: integer(options, 'maxConversationTokens', 65_536, 2),
    maxImportBytes: integer(options, 'maxImportBytes', 2 ** 23),
    transferSecret,
    maxIdleMemory: integer(options, 'maxIdleMemory', 2 ** 27, 0),
    maxCacheBytes: integer(options, 'maxCacheBytes', 2 ** 28, 0),
    stallTimeout,
    log,
  }
}

const CALL = 'createHandler'

function integer(options: HandlerOptions, name: keyof HandlerOptions, ifAbsent: number, least = 1): number {
  const value = options[name] ?? ifAbsent
  check(name, value, Number.isSafeInteger(value) && (value as number) >= least, `an integer from ${least}`)
  return value as number
}

function isStore(value: unknown): boolean {
  const store = value as Partial<ConversationStore> | null
  return typeof store?.read === 'function' && typeof store.write === 'function' && typeof store.delete === 'function'
}

function isText(value: unknown): boolean {
  return typeof value === 'string' && value !== ''
}

function isListOf(value: unknown, fits: (element: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(fits)
}

/** As browsers write it: without a path, and without the scheme's own port. */
function isOrigin(value: unknown): boolean {
  if (value === '*') return true
  try {
    return new URL(value as string).origin === value
  } catch {
    return false
  }
}

function check(name: string, value: unknown, fits: boolean, expected: string): void {
  // a secret must not be shown
  const shown = name === 'apiKeys' || name === 'transferSecret' ? '' : `, got ${describe(value)}`
  if (!fits) throw new RoutedAttentionError('BAD_ARGUMENT', `${CALL}: ${name} must be ${expected}${shown}`)
}
