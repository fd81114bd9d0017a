/**
 * A built-in module of Node, which Deno and Bun also have; undefined in a browser. Obtained through `process` rather
 * than imported, so that bundlers see no import to resolve.
 */
export function builtinModule<Module>(name: `node:${string}`): Module | undefined {
  const { process } = globalThis as { process?: { getBuiltinModule?: (name: string) => unknown } }
  return process?.getBuiltinModule?.(name) as Module | undefined
}
