/*
 * Type checks that work across realms. Jest environments, vitest's vmThreads, node:vm and same-origin iframes each have
 * their own `Uint8Array`, `Map`, `URL` and `Error`, for which `instanceof` fails: these checks use the language's
 * internal brands or, where there are none, the members that are used.
 */

/**
 * The getter of `%TypedArray%.prototype[Symbol.toStringTag]`: the type's name in any realm; undefined for anything
 * else.
 */
const kindOf = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag)!.get!

const mapSize = Object.getOwnPropertyDescriptor(Map.prototype, 'size')!.get!
const bufferLength = Object.getOwnPropertyDescriptor(ArrayBuffer.prototype, 'byteLength')!.get!

/** 'Uint8Array', 'Float32Array' and so on; undefined for anything but a typed array. */
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
  return accepts(mapSize, value)
}

/** Whether it is an ArrayBuffer (not a shared one). */
export function isArrayBuffer(value: unknown): value is ArrayBuffer {
  return accepts(bufferLength, value)
}

/** Whether it is a WebAssembly.Module. Not a type guard, since TypeScript would accept any object. */
export function isWasmModule(value: unknown): boolean {
  return accepts(() => WebAssembly.Module.exports(value as WebAssembly.Module), value)
}

/** Whether it is a URL; jsdom and iframes have their own classes. */
export function isUrl(value: unknown): value is URL {
  if (typeof value !== 'object' || value === null) return false
  const { href, protocol, pathname, searchParams } = value as Partial<Record<keyof URL, unknown>>
  return typeof href === 'string' && typeof protocol === 'string' && typeof pathname === 'string' && typeof searchParams === 'object'
}

/** Whether it is an AbortSignal, or anything with its members. */
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

/** Whether it is an Error, including DOMException. */
export function isError(value: unknown): value is Error {
  if (value instanceof Error) return true
  const tag = Object.prototype.toString.call(value)
  return tag === '[object Error]' || tag === '[object DOMException]'
}

/** Whether a brand-checking getter accepts the value. */
function accepts(getter: () => unknown, value: unknown): boolean {
  try {
    getter.call(value)
    return true
  } catch {
    return false
  }
}
