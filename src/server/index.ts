/** @packageDocumentation A model over HTTP: `routed-attention/server`. */
export { createHandler, type Handler } from './handler.js'
export {
  createEdgeServer,
  type ConversationObjects,
  type EdgeHandler,
  type EdgeServer,
  type EdgeServerOptions,
} from './edge/edge-server.js'
export { MemoryStore, type MemoryStoreOptions } from './stores/memory-store.js'
export { SqliteStore, type SqliteStoreOptions } from './stores/sqlite-store.js'
export { SessionTable, type SessionTableOptions } from './session-table.js'
export type { ConversationStore, StoredConversation } from './stores/store.js'
export type { LogEntry } from './log.js'
export type { HandlerOptions } from './options.js'
export type { FetchRequest } from '../platform.js'
