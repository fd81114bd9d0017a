/**
 * A module of Node's, which Deno and Bun have too; undefined in a browser. Asked of `process` rather than imported, so
 * that no bundler sees an import to resolve.
 */
export function builtinModule<Module>(name: `node:${string}`): Module | undefined {
  const { process } = globalThis as { process?: { getBuiltinModule?: (name: string) => unknown } }
  return process?.getBuiltinModule?.(name) as Module | undefined
}
