/*
 * Web types in public declarations: the real ones if the consumer's compiler knows them (from the DOM library, Node's
 * types or workers' types), and otherwise the members this package uses.
 */

type Global<Name extends string, Otherwise> = typeof globalThis extends Record<Name, { prototype: infer T }> ? T : Otherwise

/** `AbortSignal`. */
export type Signal = Global<
  'AbortSignal',
  {
    readonly aborted: boolean
    readonly reason: unknown
    throwIfAborted(): void
    addEventListener(type: 'abort', listener: () => void): void
    removeEventListener(type: 'abort', listener: () => void): void
  }
>

/** `URL`. */
export type Url = Global<'URL', { readonly href: string; readonly protocol: string; readonly pathname: string }>

/** `Request`. */
export type FetchRequest = Global<
  'Request',
  {
    readonly method: string
    readonly url: string
    readonly headers: { get(name: string): string | null }
    readonly body: unknown
    readonly signal: Signal
  }
>

/** `Response`. */
export type FetchResponse = Global<
  'Response',
  { readonly ok: boolean; readonly status: number; readonly body: unknown; arrayBuffer(): Promise<ArrayBuffer> }
>

/** `WebAssembly.Module`. */
export type WasmModule = typeof globalThis extends { WebAssembly: { Module: { prototype: infer T } } } ? T : object
