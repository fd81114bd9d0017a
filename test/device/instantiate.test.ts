/**
 * The few lines that instantiate a build, against AssemblyScript's own loader. The package cannot use that: it makes a
 * TextDecoder when it is imported, which Jest's jsdom environment does not have.
 */
import { readFileSync } from 'node:fs'
import { instantiateSync } from '@assemblyscript/loader'
import { expect, test } from 'vitest'
import { createMemory, instantiateKernels } from '../../src/device/wasm/instantiate.js'
import { allBuilds } from '../support/runtimes.js'

const moduleOf = (name: string) => new WebAssembly.Module(readFileSync(new URL(`../../build/${name}.wasm`, import.meta.url)))

/** What a call throws, in words. */
function failureOf(call: () => unknown): string {
  try {
    call()
  } catch (error) {
    return (error as Error).message
  }
  return 'nothing was thrown'
}

test.each(allBuilds)("%s exports the same to us as to AssemblyScript's loader", (name) => {
  const ours = instantiateKernels(moduleOf(name), createMemory())
  const { exports } = instantiateSync(moduleOf(name), { env: { memory: createMemory() } })
  for (const [key, value] of Object.entries(ours)) expect(typeof exports[key]).toBe(typeof value)
  const theirs = exports as unknown as typeof ours
  expect([ours.fused(), ours.heapBase()]).toEqual([theirs.fused(), theirs.heapBase()])
})

test.each(['checked-baseline', 'checked-relaxed'])('%s reports a failed assertion as the loader expects', (name) => {
  // a packed weight of no format
  const pack = (kernels: ReturnType<typeof instantiateKernels>) => kernels.pack(1, 99 as never, 1, 1, 1, 1, 3, 98 as never, 1, 1, 0)
  const ours = failureOf(() => pack(instantiateKernels(moduleOf(name), createMemory())))
  const { exports } = instantiateSync(moduleOf(name), { env: { memory: createMemory() } })
  const theirs = failureOf(() => pack(exports as unknown as ReturnType<typeof instantiateKernels>))
  const told = (text: string) => /(\w[^()]*)[ "(]+([\w/~]+\.ts):(\d+):(\d+)/.exec(text)?.slice(2)
  expect(ours).toContain('a kernel failed an assertion')
  expect(ours).toContain('pack: a format')
  expect(theirs).toContain('pack: a format')
  expect(told(ours)).toHaveLength(3)
  expect(told(ours)).toEqual(told(theirs))
})
