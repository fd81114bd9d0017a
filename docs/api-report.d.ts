/* The public surface, written by scripts/api-report.mjs. */
type ActivationBits = 7 | 14

interface AppendOptions {
  signal?: Signal | undefined
  bits?: boolean | undefined
}

interface AppendResult {
  readonly logits: Float32Array
  readonly bits: Float32Array
}

type AssumedDefaults = Readonly<Record<string, number | boolean | string | null>>

interface CacheLike {
  match(url: string): Promise<FetchResponse | undefined>
  put(url: string, response: FetchResponse): Promise<void>
  delete?(url: string): Promise<boolean>
}

interface Completion {
  readonly text: string
  readonly ids: number[]
  readonly finishReason: FinishReason
  readonly usage: {
    readonly promptTokens: number
    readonly completionTokens: number
  }
}

interface EncodeOptions {
  allowSpecial?: boolean | undefined
}

type ErrorCode =
  | 'BAD_FILE'
  | 'BAD_WEIGHTS'
  | 'BAD_CONFIG'
  | 'BAD_SHAPE'
  | 'BAD_ARGUMENT'
  | 'NETWORK'
  | 'NUMERIC'
  | 'OUT_OF_MEMORY'
  | 'DISPOSED'
  | 'UNSUPPORTED'
  | 'WORKER_FAILED'
  | 'DEVICE_LOST'

interface ErrorDetails {
  cause?: unknown
  status?: number | undefined
  names?: readonly string[] | undefined
}

interface EvaluateOptions {
  chunk?: number | undefined
  onProgress?: ((progress: EvaluateProgress) => void) | undefined
  onBits?: ((bits: Float32Array, start: number) => void) | undefined
  signal?: Signal | undefined
}

interface EvaluateProgress {
  readonly type: 'evaluate'
  readonly done: number
  readonly total: number
}

interface Evaluation {
  readonly bitsPerToken: number
  readonly tokens: number
}

type Fetch = (
  url: string,
  init: {
    signal: Signal
    headers?: Readonly<Record<string, string>>
  },
) => Promise<FetchResponse>

type FetchResponse = Global<
  'Response',
  {
    readonly ok: boolean
    readonly status: number
    readonly body: unknown
    arrayBuffer(): Promise<ArrayBuffer>
  }
>

interface FileLike {
  readonly name: string
  readonly size: number
  arrayBuffer(): Promise<ArrayBuffer>
  slice?(
    start: number,
    end: number,
  ): {
    arrayBuffer(): Promise<ArrayBuffer>
  }
}

type FinishReason = 'stop' | 'length'

interface ForwardOptions {
  rotaryEmb?: Tensor | null
  numRoutedQueries?: number | null
  numRoutedKeyValues?: number | null
  trace?: boolean
  signal?: Signal | undefined
}

interface GenerateOptions extends LogitsOptions, SamplingOptions {
  maxTokens?: number | undefined
  stop?: string | readonly string[] | undefined
  stopTokenIds?: TokenIds | undefined
  ignoreEos?: boolean | undefined
  earlierIds?: TokenIds | undefined
  writtenIds?: TokenIds | undefined
  signal?: Signal | undefined
  onProgress?: ((progress: PromptProgress) => void) | undefined
}

interface GeneratedToken {
  readonly id: number
  readonly text: string
  readonly logprob: number
  readonly topLogprobs?: readonly TokenLogprob[]
  readonly finishReason: FinishReason | null
}

type Global<Name extends string, Otherwise> =
  typeof globalThis extends Record<
    Name,
    {
      prototype: infer T
    }
  >
    ? T
    : Otherwise

interface InspectOptions {
  signal?: Signal | undefined
}

interface Inspection {
  readonly position: number
  readonly token: number
  readonly layers: readonly LayerInspection[]
}

declare class LanguageModel {
  #private
  readonly config: ModelConfig
  readonly assumed: AssumedDefaults
  readonly tokenizer: Tokenizer
  readonly hasTokenizer: boolean
  readonly unavailable: Readonly<Record<string, string>>
  readonly eosTokenIds: readonly number[]
  readonly runtime: Runtime
  readonly numParameters: number
  private constructor()
  static load(source: ModelSource, options?: LoadOptions): Promise<LanguageModel>
  forward(tokenIds: TokenIds, options?: ModelForwardOptions): Promise<Tensor>
  evaluate(tokenIds: TokenIds, options?: EvaluateOptions): Promise<Evaluation>
  generate(prompt: string | TokenIds, options?: GenerateOptions): AsyncGenerator<GeneratedToken, void, undefined>
  complete(prompt: string | TokenIds, options?: GenerateOptions): Promise<Completion>
  createSession(): Session
  restoreSession(bytes: Uint8Array): Session
  dispose(): void
  [Symbol.dispose](): void
}

interface LayerConfig {
  readonly dim: number
  readonly numRoutedQueries: number
  readonly numRoutedKeyValues: number
  readonly localAttnWindowSize: number
  readonly routedWindowSize: number
  readonly numExperts: number
  readonly dimHead: number
  readonly heads: number
  readonly prenorm: boolean
  readonly averageRouted: boolean
  readonly cosineSimRouting: boolean
  readonly cosineSimScale: number
  readonly nIters: number
  readonly fetchKRatio: number
  readonly eps: number
  readonly epsInit: number
  readonly epsDecay: number
  readonly straightThrough: boolean
  readonly selection: SelectionMethod
  readonly causal: boolean
}

interface LayerInspection {
  readonly localPositions: Float64Array
  readonly localWeights: readonly Float32Array[]
  readonly routerScores: readonly [query: Float32Array, keyValue: Float32Array]
  readonly isQuery: readonly boolean[]
  readonly heldPositions: readonly Float64Array[]
  readonly routedWeights: readonly (readonly Float32Array[] | undefined)[]
}

interface LayerOptions {
  dim: number
  numRoutedQueries: number
  numRoutedKeyValues: number
  localAttnWindowSize: number
  routedWindowSize?: number | null
  numExperts?: number
  dimHead?: number
  heads?: number
  dropout?: number
  prenorm?: boolean
  averageRouted?: boolean
  cosineSimRouting?: boolean
  cosineSimScale?: number
  nIters?: number
  fetchKRatio?: number
  eps?: number
  epsInit?: number
  epsDecay?: number
  straightThrough?: boolean
  useTriton?: boolean | null
  flashAttn?: boolean | null
  selection?: SelectionMethod
  causal?: boolean
}

interface LayerTrace {
  readonly out: Tensor
  readonly localOut: Tensor
  readonly routedQueries: Tensor
  readonly keyValueIndices: Tensor
}

interface LoadOptions extends ReadOptions {
  runtime?: Runtime | undefined
  workload?: Workload | undefined
  tokenizer?: TokenizerKind | undefined
  quantize?: 'int8' | undefined
}

interface LoadProgress {
  readonly type: 'load'
  readonly done: number
  readonly total: number
}

interface LogitsOptions {
  repetitionPenalty?: number | undefined
  frequencyPenalty?: number | undefined
  presencePenalty?: number | undefined
  logitBias?: Readonly<Record<number, number>> | ReadonlyMap<number, number> | undefined
  logitsProcessor?: ((logits: Float32Array, ids: readonly number[]) => void | Promise<void>) | undefined
}

declare class MixtureOfAutoregressiveAttention {
  #private
  readonly options: LayerConfig
  constructor(
    runtime: Runtime,
    options: LayerOptions,
    init?: {
      seed?: number
    },
  )
  loadStateDict(tensors: ReadonlyMap<string, Tensor> | Readonly<Record<string, Tensor>>): void
  forward(
    x: Tensor,
    options?: ForwardOptions & {
      trace?: false
    },
  ): Promise<Tensor>
  forward(
    x: Tensor,
    options: ForwardOptions & {
      trace: true
    },
  ): Promise<LayerTrace>
  forward(x: Tensor, options?: ForwardOptions): Promise<Tensor | LayerTrace>
  dispose(): void
  [Symbol.dispose](): void
}

interface ModelConfig {
  readonly layer: LayerConfig
  readonly numTokens: number
  readonly depth: number
  readonly feedForwardMultiplier: number
  readonly routedRotaryEmb: boolean
  readonly maxPositions: number | null
  readonly routedLayers?: readonly number[]
  readonly quantization?: Quantization
}

interface ModelForwardOptions {
  signal?: Signal | undefined
}

type ModelSource = string | Url | readonly FileLike[] | ReadonlyMap<string, Uint8Array>

interface OpenedPrefix {
  readonly session: Session
  readonly length: number
}

declare class PrefixCache {
  #private
  constructor(model: LanguageModel, options?: PrefixCacheOptions)
  get byteLength(): number
  get size(): number
  read(tokenIds: TokenIds, options?: PrefixReadOptions): Promise<PrefixReading>
  open(tokenIds: TokenIds): OpenedPrefix
  remember(tokenIds: TokenIds, session: Session): void
  clear(): void
  dispose(): void
  [Symbol.dispose](): void
}

interface PrefixCacheOptions {
  maxBytes?: number | undefined
}

interface PrefixReadOptions {
  signal?: Signal | undefined
  onProgress?: ((progress: PromptProgress) => void) | undefined
  share?: boolean | undefined
}

interface PrefixReading {
  readonly session: Session
  readonly logits: Float32Array
  readonly cachedTokens: number
}

interface PromptProgress {
  readonly type: 'prompt'
  readonly done: number
  readonly total: number
}

interface Quantization {
  readonly activationBits: ActivationBits
}

interface QuantizeOptions extends ReadOptions {
  activationBits?: ActivationBits | undefined
}

interface ReadOptions {
  onProgress?: ((progress: LoadProgress) => void) | undefined
  signal?: Signal | undefined
  fetch?: Fetch | undefined
  cache?: boolean | string | CacheLike | undefined
  cacheVersion?: string | undefined
  integrity?: Readonly<Record<string, string>> | undefined
}

declare class RoutedAttentionError extends Error {
  readonly name = 'RoutedAttentionError'
  readonly code: ErrorCode
  readonly status?: number
  readonly names?: readonly string[]
  constructor(code: ErrorCode, message: string, details?: ErrorDetails)
}

declare class Runtime {
  private constructor()
  #private
  get info(): RuntimeInfo
  get disposed(): boolean
  dispose(): Promise<void>
  [Symbol.dispose](): void
  [Symbol.asyncDispose](): Promise<void>
}

interface RuntimeInfo {
  readonly device: 'wasm' | 'webgpu'
  readonly adapter?: string
  readonly simd: 'baseline' | 'relaxed'
  readonly fused: boolean
  readonly threads: number
  readonly kernels: {
    readonly tile: string
    readonly row: string
    readonly int8Tile?: string
    readonly int8Row?: string
  }
  readonly memory: {
    readonly reserved: number
    readonly used: number
  }
  readonly unavailable: Readonly<Record<string, string>>
}

interface RuntimeOptions {
  device?: 'wasm' | 'webgpu' | 'auto'
  threads?: number | 'auto'
  simd?: 'auto' | 'baseline' | 'relaxed'
  revectorize?: boolean
  wasm?: WasmModule | ArrayBuffer | ArrayBufferView | Url
  worker?: Url
  isolateCallers?: boolean
  signal?: Signal
}

interface SamplingOptions {
  temperature?: number | undefined
  topK?: number | undefined
  topP?: number | undefined
  minP?: number | undefined
  seed?: number | undefined
  topLogprobs?: number | undefined
}

type SelectionMethod = 'coordinate-descent' | 'top-k'

declare class Session {
  private constructor()
  #private
  get position(): number
  get byteLength(): number
  append(
    tokenIds: TokenIds,
    options?: AppendOptions & {
      bits?: false | undefined
    },
  ): Promise<Float32Array>
  append(
    tokenIds: TokenIds,
    options: AppendOptions & {
      bits: true
    },
  ): Promise<AppendResult>
  append(tokenIds: TokenIds, options?: AppendOptions): Promise<Float32Array | AppendResult>
  generate(prompt: string | TokenIds | null, options?: GenerateOptions): AsyncGenerator<GeneratedToken, void, undefined>
  inspect(options?: InspectOptions): Promise<Inspection>
  clone(): Session
  save(): Uint8Array
  dispose(): void
  [Symbol.dispose](): void
}

type Signal = Global<
  'AbortSignal',
  {
    readonly aborted: boolean
    readonly reason: unknown
    throwIfAborted(): void
    addEventListener(type: 'abort', listener: () => void): void
    removeEventListener(type: 'abort', listener: () => void): void
  }
>

declare class Tensor {
  readonly data: Float32Array
  readonly shape: readonly number[]
  constructor(data: Float32Array, shape: readonly number[])
  static zeros(shape: readonly number[]): Tensor
  static randn(shape: readonly number[], seed?: number): Tensor
}

type TokenIds = readonly number[] | Int8Array | Uint8Array | Uint8ClampedArray | Int16Array | Uint16Array | Int32Array | Uint32Array

interface TokenLogprob {
  readonly id: number
  readonly logprob: number
}

interface Tokenizer {
  encode(text: string, options?: EncodeOptions): number[]
  encodeStream(chunks: AsyncIterable<string> | Iterable<string>, options?: EncodeOptions): AsyncGenerator<Int32Array, void, undefined>
  decode(ids: ArrayLike<number>): string
}

type TokenizerKind = 'bytes'

type Url = Global<
  'URL',
  {
    readonly href: string
    readonly protocol: string
    readonly pathname: string
  }
>

type WasmModule = typeof globalThis extends {
  WebAssembly: {
    Module: {
      prototype: infer T
    }
  }
}
  ? T
  : object

type Workload = 'decode' | 'prefill'

declare function createRuntime(options?: RuntimeOptions): Promise<Runtime>

declare function quantizeModel(source: ModelSource, options?: QuantizeOptions): Promise<Map<string, Uint8Array>>

declare function readSafetensors(bytes: Uint8Array): Map<string, Tensor>

export {
  LanguageModel,
  MixtureOfAutoregressiveAttention,
  PrefixCache,
  RoutedAttentionError,
  Tensor,
  createRuntime,
  quantizeModel,
  readSafetensors,
}
export type {
  ActivationBits,
  AppendOptions,
  AppendResult,
  AssumedDefaults,
  CacheLike,
  Completion,
  EncodeOptions,
  ErrorCode,
  ErrorDetails,
  EvaluateOptions,
  EvaluateProgress,
  Evaluation,
  Fetch,
  FetchResponse,
  FileLike,
  FinishReason,
  ForwardOptions,
  GenerateOptions,
  GeneratedToken,
  InspectOptions,
  Inspection,
  LayerConfig,
  LayerInspection,
  LayerOptions,
  LayerTrace,
  LoadOptions,
  LoadProgress,
  LogitsOptions,
  ModelConfig,
  ModelForwardOptions,
  ModelSource,
  OpenedPrefix,
  PrefixCacheOptions,
  PrefixReadOptions,
  PrefixReading,
  PromptProgress,
  Quantization,
  QuantizeOptions,
  ReadOptions,
  Runtime,
  RuntimeInfo,
  RuntimeOptions,
  SamplingOptions,
  SelectionMethod,
  Session,
  Signal,
  TokenIds,
  TokenLogprob,
  Tokenizer,
  TokenizerKind,
  Url,
  WasmModule,
  Workload,
}

declare module 'routed-attention/server' {
  import type { FetchResponse, LanguageModel, Session, Signal } from './index.js'
  interface ConversationObjects {
    newId(): string
    fetch(id: string, request: FetchRequest): Promise<FetchResponse> | undefined
  }

  interface ConversationStore {
    read(id: string, prefix: string): Promise<StoredConversation | undefined>
    write(id: string, version: number, entries: ReadonlyMap<string, Uint8Array>): Promise<boolean>
    delete(id: string): Promise<boolean>
  }

  type EdgeHandler = (request: FetchRequest) => Promise<FetchResponse>

  interface EdgeServer {
    front(objects: ConversationObjects): EdgeHandler
    conversation(id: string, store: ConversationStore): EdgeHandler
  }

  interface EdgeServerOptions extends Pick<
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
    load: (onProgress: () => void) => Promise<LanguageModel>
    maxMemory?: number | undefined
    maxCacheBytes?: number | undefined
    maxImportBytes?: number | undefined
    maxWait?: number | undefined
    snapshotInterval?: number | undefined
  }

  type FetchRequest = Global<
    'Request',
    {
      readonly method: string
      readonly url: string
      readonly headers: {
        get(name: string): string | null
      }
      readonly body: unknown
      readonly signal: Signal
    }
  >

  type Global<Name extends string, Otherwise> =
    typeof globalThis extends Record<
      Name,
      {
        prototype: infer T
      }
    >
      ? T
      : Otherwise

  interface Handler {
    (request: FetchRequest): Promise<FetchResponse>
    close(options?: { timeout?: number | undefined }): Promise<void>
  }

  interface HandlerOptions {
    modelName?: string | undefined
    apiKeys?: readonly string[] | undefined
    origins?: readonly string[] | undefined
    clientOf?: ((request: FetchRequest) => string) | undefined
    requestsPerMinute?: number | undefined
    maxBodyBytes?: number | undefined
    maxPromptTokens?: number | undefined
    maxTokens?: number | undefined
    maxChoices?: number | undefined
    maxConcurrent?: number | undefined
    maxQueue?: number | undefined
    maxMemory?: number | undefined
    store?: ConversationStore | undefined
    maxConversationTokens?: number | undefined
    maxImportBytes?: number | undefined
    transferSecret?: string | undefined
    maxIdleMemory?: number | undefined
    maxCacheBytes?: number | undefined
    stallTimeout?: number | undefined
    log?: ((entry: LogEntry) => void) | undefined
  }

  interface LogEntry {
    readonly method: string
    readonly route: string
    readonly status: number
    readonly code?: string
    readonly milliseconds: number
    readonly queuedMilliseconds: number
    readonly promptTokens: number
    readonly cachedTokens: number
    readonly completionTokens: number
    readonly defect?: string
  }

  declare class MemoryStore implements ConversationStore {
    #private
    constructor(options?: MemoryStoreOptions)
    get byteLength(): number
    read(id: string, prefix: string): Promise<StoredConversation | undefined>
    write(id: string, version: number, entries: ReadonlyMap<string, Uint8Array>): Promise<boolean>
    delete(id: string): Promise<boolean>
  }

  interface MemoryStoreOptions {
    maxBytes?: number | undefined
  }

  declare class SessionTable {
    #private
    constructor(options?: SessionTableOptions)
    get size(): number
    add(id: string, session: Session): void
    use(id: string): Session | undefined
    delete(id: string): boolean
    collect(): number
  }

  interface SessionTableOptions {
    lease?: number | undefined
    now?: (() => number) | undefined
  }

  declare class SqliteStore implements ConversationStore {
    #private
    constructor(path: string, options?: SqliteStoreOptions)
    read(id: string, prefix: string): Promise<StoredConversation | undefined>
    write(id: string, version: number, entries: ReadonlyMap<string, Uint8Array>): Promise<boolean>
    delete(id: string): Promise<boolean>
    close(): void
    [Symbol.dispose](): void
  }

  interface SqliteStoreOptions {
    maxIdleDays?: number | undefined
  }

  interface StoredConversation {
    readonly version: number
    readonly entries: ReadonlyMap<string, Uint8Array>
    readonly release?: (() => void) | undefined
  }

  declare function createEdgeServer(options: EdgeServerOptions): EdgeServer

  declare function createHandler(model: LanguageModel, options?: HandlerOptions): Handler

  export { MemoryStore, SessionTable, SqliteStore, createEdgeServer, createHandler }
  export type {
    ConversationObjects,
    ConversationStore,
    EdgeHandler,
    EdgeServer,
    EdgeServerOptions,
    FetchRequest,
    Handler,
    HandlerOptions,
    LogEntry,
    MemoryStoreOptions,
    SessionTableOptions,
    SqliteStoreOptions,
    StoredConversation,
  }
}
declare module 'routed-attention/ai-sdk' {
  import type { JSONSchema7, LanguageModelV4, LanguageModelV4Prompt } from '@ai-sdk/provider'
  import type { GenerateOptions, LanguageModel, LogitsOptions, PrefixCache, TokenIds } from './index.js'
  interface Constraint {
    logitsProcessor: NonNullable<LogitsOptions['logitsProcessor']>
    stopTokenIds?: TokenIds | undefined
    dispose?: (() => void) | undefined
  }

  interface RoutedAttentionOptions {
    modelId?: string | undefined
    prompt?: ((messages: LanguageModelV4Prompt) => string | TokenIds) | undefined
    constrain?: ((schema: JSONSchema7) => Constraint | Promise<Constraint>) | undefined
    prefixCache?: PrefixCache | undefined
  }

  type RoutedAttentionProviderOptions = Pick<GenerateOptions, 'minP' | 'repetitionPenalty' | 'logitBias' | 'stopTokenIds' | 'ignoreEos'>

  declare function createRoutedAttention(model: LanguageModel, options?: RoutedAttentionOptions): LanguageModelV4

  export { createRoutedAttention }
  export type { Constraint, RoutedAttentionOptions, RoutedAttentionProviderOptions }
}
