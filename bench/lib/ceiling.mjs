import { readFileSync } from 'node:fs'
import { built } from './paths.mjs'
import { secondsEach } from './serve.mjs'

const ITERATIONS = 100_000
const CHAINS = 12

/** The ceilings in this process, on the given memory, for the arithmetic in use. */
export function openCeiling(simd, memory) {
  const module = new WebAssembly.Module(readFileSync(built(`ceiling-${simd}.wasm`)))
  const { exports } = new WebAssembly.Instance(module, { env: { memory } })
  return {
    /** Floating-point operations a second of one thread, registers only: the better of several short windows. */
    async flops(seconds) {
      // the engine changes tier between calls, never within one
      for (let i = 0; i < 200; i++) exports.multiplyAdds(2000, 0.9999, 0.5)
      let best = Infinity
      for (let i = 0; i < 10; i++)
        best = Math.min(best, await secondsEach(() => void exports.multiplyAdds(ITERATIONS, 0.9999, 0.5), seconds / 10))
      return (ITERATIONS * CHAINS * 8) / best
    },
    sum: exports.sum,
  }
}
