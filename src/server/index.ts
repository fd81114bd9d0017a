/** @packageDocumentation A model over HTTP: `routed-attention/server`. */
export { createHandler, type Handler } from './handler.js'
export type { LogEntry } from './log.js'
export type { HandlerOptions } from './options.js'
export type { FetchRequest } from '../platform.js'
