/**
 * A built-in module of Node, which Deno and Bun also have, or one of Bun's own; undefined where there is none. Obtained
 * through `process` rather than imported, so that bundlers see no import to resolve.
 */
export function builtinModule<Module>(name: `node:${string}` | `bun:${string}`): Module | undefined {
  const { process } = globalThis as { process?: { getBuiltinModule?: (name: string) => unknown } }
  return process?.getBuiltinModule?.(name) as Module | undefined
}
