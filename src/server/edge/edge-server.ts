import { describe, RoutedAttentionError } from '../../errors.js'
import type { LanguageModel } from '../../model/language-model.js'
import { PrefixCache } from '../../model/prefix-cache.js'
import { checkFunction, checkOptions, namesOf } from '../../options.js'
import type { FetchRequest, FetchResponse } from '../../platform.js'
import { completionHandler, completionRoutes } from '../completions/routes.js'
import { conversationRoutes, routesOfConversations } from '../conversations/routes.js'
import { unknownConversation } from '../conversations/conversation-service.js'
import type { Exchange } from '../exchange.js'
import { informationRoutes } from '../information.js'
import { hexOf } from '../hex.js'
import { overloaded } from '../http-error.js'
import { type HandlerOptions, resolveOptions, type Settings } from '../options.js'
import type { Route } from '../router.js'
import { ServerMetrics } from '../server-metrics.js'
import { Server } from '../server.js'
import type { Services } from '../services.js'
import type { ConversationStore } from '../stores/store.js'
import { Work } from '../work.js'
import { type ConversationMeans, ObjectConversation } from './object-conversation.js'
import { SessionBudget } from './session-budget.js'
import { SharedLoad } from './shared-load.js'

/** Options of `createEdgeServer`: those of `createHandler` that make sense there, and its own. */
export interface EdgeServerOptions extends Pick<
  HandlerOptions,
  | 'modelName'
  | 'apiKeys'
  | 'origins'
  | 'clientOf'
  | 'requestsPerMinute'
  | 'maxBodyBytes'
  | 'maxPromptTokens'
  | 'maxTokens'
  | 'maxChoices'
  | 'maxConversationTokens'
  | 'transferSecret'
  | 'stallTimeout'
  | 'log'
> {
  /**
   * Loads the model, on the first request that needs it and again if that failed. It should call `onProgress` as the bytes
   * arrive: a load without progress for ten seconds is begun anew by another request.
   */
  load: (onProgress: () => void) => Promise<LanguageModel>
  /**
   * Bytes that weights, scratch, sessions, the copies that appends make of them, snapshots being written and the prefix
   * cache may take, a sixth of them kept free for garbage; default 96,000,000, which leaves a quarter of an isolate's
   * 128 MB to the JavaScript heap.
   */
  maxMemory?: number | undefined
  /** Bytes of them for what is remembered of prompts; default 8 MiB. */
  maxCacheBytes?: number | undefined
  /** Bytes of a conversation that comes as a file; default 4 MiB, of which an isolate has three copies for a moment. */
  maxImportBytes?: number | undefined
  /** Milliseconds that a request waits for memory before it is refused with 503; default 10,000. */
  maxWait?: number | undefined
  /** Tokens after which the end of a turn stores a snapshot; fewer are read again on waking. Default 512. */
  snapshotInterval?: number | undefined
}

/**
 * The part of the memory that garbage may take beside what is left to the JavaScript heap. With live objects of 7 MB and a
 * heap of 128 MB at most, V8 let heap and what lies outside of it grow to 25 MB before it collected (workerd 2026-11-17, 3,000
 * turns without a pause); with a heap of gigabytes, as the local engine has by default, to 68 MB.
 */
const GARBAGE_SHARE = 1 / 6

const EDGE_OPTIONS = namesOf<EdgeServerOptions>({
  modelName: true,
  apiKeys: true,
  origins: true,
  clientOf: true,
  requestsPerMinute: true,
  maxBodyBytes: true,
  maxPromptTokens: true,
  maxTokens: true,
  maxChoices: true,
  maxConversationTokens: true,
  maxImportBytes: true,
  transferSecret: true,
  stallTimeout: true,
  log: true,
  load: true,
  maxMemory: true,
  maxCacheBytes: true,
  maxWait: true,
  snapshotInterval: true,
})

/** Objects that hold conversations, such as Durable Objects, as the front of the service sees them. */
export interface ConversationObjects {
  /** An id for a new conversation. */
  newId(): string
  /**
   * Hands a request to the object of this id.
   * @returns undefined if the id was not made by `newId`
   */
  fetch(id: string, request: FetchRequest): Promise<FetchResponse> | undefined
}

/** Answers requests; never rejects. */
export type EdgeHandler = (request: FetchRequest) => Promise<FetchResponse>

/** What `createEdgeServer` returns. */
export interface EdgeServer {
  /** Answers all that needs no conversation itself, and hands the rest to the objects that hold them. */
  front(objects: ConversationObjects): EdgeHandler
  /**
   * Answers the requests that `front` hands to an object.
   * @param id of the conversation
   * @param store the object's own, in which it keeps that one conversation
   */
  conversation(id: string, store: ConversationStore): EdgeHandler
}

/**
 * Serves a model on edge workers, where no work goes on between requests and none may wait for what another resolves: one
 * for each isolate, shared by the worker in front and by the objects that hold conversations. docs/platforms/edge.md tells
 * how it differs from `createHandler`.
 * @throws RoutedAttentionError `BAD_ARGUMENT`
 */
export function createEdgeServer(options: EdgeServerOptions): EdgeServer {
  checkOptions('createEdgeServer', options, EDGE_OPTIONS)
  const { load, maxMemory = 96_000_000, maxWait = 10_000, snapshotInterval = 512, ...rest } = options
  const { maxCacheBytes = 2 ** 23, maxImportBytes = 2 ** 22 } = options
  if (load === undefined) throw new RoutedAttentionError('BAD_ARGUMENT', 'createEdgeServer: load is missing')
  checkFunction('createEdgeServer', 'load', load)
  for (const [name, value] of Object.entries({ maxMemory, maxWait, snapshotInterval }))
    if (!Number.isSafeInteger(value) || value < 1)
      throw new RoutedAttentionError('BAD_ARGUMENT', `createEdgeServer: ${name} must be an integer from 1, got ${describe(value)}`)
  const settings = resolveOptions({ ...rest, maxCacheBytes, maxImportBytes, maxQueue: 0 })
  const isolate = new Isolate(settings, { load, maxMemory, maxWait })
  const inner: Settings = { ...settings, apiKeys: [], requestsPerMinute: Infinity, clientOf: undefined }
  const means: ConversationMeans = {
    settings,
    snapshotInterval,
    now: Date.now,
    open: () => isolate.open(),
    budget: () => isolate.opened?.budget,
    drivers: new Map(),
  }
  return {
    front: (objects) => {
      const server = new Server(settings, [...isolate.routes(), ...routesTo(objects)], isolate.metrics, isolate.work)
      return (request) => server.answer(request)
    },
    conversation: (id, store) => {
      const routes = conversationRoutes(new ObjectConversation(id, store, means), settings, async () => (await isolate.open()).model)
      const server = new Server(inner, routes, isolate.metrics, isolate.work)
      return (request) => server.answer(request)
    },
  }
}

/** What needs the model. */
interface Opened extends Services {
  /** The model's, in hexadecimal. */
  readonly fingerprint: string
  readonly budget: SessionBudget
  readonly complete: ReturnType<typeof completionHandler>
}

/** What one isolate has once. */
class Isolate {
  readonly metrics = new ServerMetrics()
  readonly work = new Work(false)
  readonly #settings: Settings
  readonly #loading: SharedLoad<Opened>

  constructor(settings: Settings, { load, maxMemory, maxWait }: Pick<EdgeServerOptions, 'load'> & { maxMemory: number; maxWait: number }) {
    this.#settings = settings
    this.#loading = new SharedLoad(async (onProgress) => {
      const model = await load(onProgress)
      // WebAssembly's memory grows by an eighth at a time
      const runtimeBytes = ((maxMemory * (1 - GARBAGE_SHARE) - settings.maxCacheBytes) * 8) / 9
      const budget = new SessionBudget(model, { maxMemory: runtimeBytes, maxWait })
      const keys = Math.max(1, settings.apiKeys.length)
      const prefixes = Array.from({ length: keys }, () => new PrefixCache(model, { maxBytes: settings.maxCacheBytes / keys }))
      this.metrics.observe(model, budget, prefixes)
      const services = { ...this.#information, model, fingerprint: hexOf(model.fingerprint), budget, admission: budget, prefixes }
      return { ...services, complete: completionHandler(services) }
    })
  }

  /** The model and all that needs one; loads it first if need be. */
  open(): Promise<Opened> {
    return this.#loading.get()
  }

  get opened(): Opened | undefined {
    return this.#loading.value
  }

  /** Those that are answered without a conversation. */
  routes(): Route[] {
    const complete = async (exchange: Exchange) => (await this.open()).complete(exchange)
    return [...informationRoutes(this.#information), ...completionRoutes(complete)]
  }

  get #information(): Pick<Services, 'settings' | 'created' | 'metrics' | 'work'> {
    const { metrics, work } = this
    return { settings: this.#settings, metrics, work, created: Math.floor(Date.now() / 1000) }
  }
}

/** Routes to the objects that hold conversations. */
function routesTo(objects: ConversationObjects): Route[] {
  const hand = async (id: string, request: Request) => {
    // who sent it has been checked
    const inner = new Request(request)
    for (const header of ['authorization', 'origin']) inner.headers.delete(header)
    const handed = objects.fetch(id, inner)
    if (!handed) throw unknownConversation()
    try {
      return await handed
    } catch {
      // it was evicted, or its machine failed: another takes its place, from what is stored
      throw overloaded('the object that holds the conversation has ended; try again', 1)
    }
  }
  const pass = ({ request, params }: Exchange) => hand(params['id']!, request)
  const create = ({ request }: Exchange) => hand(objects.newId(), request)
  return routesOfConversations({ create, take: pass, follow: pass, export: pass, delete: pass })
}
