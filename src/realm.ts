/*
 * What a value is, whichever realm made it. Jest's environments, vitest's vmThreads, node:vm and same-origin iframes
 * each have their own `Uint8Array`, `Map`, `URL` and `Error`, of which `instanceof` knows nothing: so these ask for the
 * brand that the language keeps inside, or, where there is none, for the members that are used.
 */

/**
 * The getter of `%TypedArray%.prototype[Symbol.toStringTag]`: the name of the kind, whatever the realm; undefined for
 * anything else.
 */
const kindOf = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag)!.get!

const mapSize = Object.getOwnPropertyDescriptor(Map.prototype, 'size')!.get!
const bufferLength = Object.getOwnPropertyDescriptor(ArrayBuffer.prototype, 'byteLength')!.get!

/** 'Uint8Array', 'Float32Array' and so on; undefined for what is no typed array. */
export function typedArrayKind(value: unknown): string | undefined {
  return kindOf.call(value) as string | undefined
}

export function isUint8Array(value: unknown): value is Uint8Array {
  return typedArrayKind(value) === 'Uint8Array'
}

export function isFloat32Array(value: unknown): value is Float32Array {
  return typedArrayKind(value) === 'Float32Array'
}

export function isMap(value: unknown): value is ReadonlyMap<unknown, unknown> {
  return answers(mapSize, value)
}

/** An ArrayBuffer; a shared one is none. */
export function isArrayBuffer(value: unknown): value is ArrayBuffer {
  return answers(bufferLength, value)
}

/** Whether it is a WebAssembly.Module. No type guard: to TypeScript every object is one. */
export function isWasmModule(value: unknown): boolean {
  return answers(() => WebAssembly.Module.exports(value as WebAssembly.Module), value)
}

/** A URL: jsdom and iframes have classes of their own. */
export function isUrl(value: unknown): value is URL {
  if (typeof value !== 'object' || value === null) return false
  const { href, protocol, pathname, searchParams } = value as Partial<Record<keyof URL, unknown>>
  return typeof href === 'string' && typeof protocol === 'string' && typeof pathname === 'string' && typeof searchParams === 'object'
}

/** An AbortSignal, or whatever does what is asked of one. */
export function isSignal(value: unknown): value is AbortSignal {
  if (typeof value !== 'object' || value === null) return false
  const signal = value as Partial<Record<keyof AbortSignal, unknown>>
  return (
    typeof signal.aborted === 'boolean' &&
    'reason' in signal &&
    typeof signal.throwIfAborted === 'function' &&
    typeof signal.addEventListener === 'function' &&
    typeof signal.removeEventListener === 'function'
  )
}

/** An Error, a DOMException among them. */
export function isError(value: unknown): value is Error {
  if (value instanceof Error) return true
  const tag = Object.prototype.toString.call(value)
  return tag === '[object Error]' || tag === '[object DOMException]'
}

/** Whether a getter that looks at a brand takes the value. */
function answers(getter: () => unknown, value: unknown): boolean {
  try {
    getter.call(value)
    return true
  } catch {
    return false
  }
}
