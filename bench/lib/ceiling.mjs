import { readFileSync } from 'node:fs'
import { built } from './paths.mjs'
import { secondsEach } from './timing.mjs'

const ITERATIONS = 100_000
const CHAINS = 12
/** Seconds of work between two measurements of the ceiling, at least one call. */
const SLICE = 0.04

/** Calls after which the engine has changed tiers: it does so between calls, never within one. */
const WARM_UP = 200

/** The ceilings in this process, on the given memory, for the arithmetic in use. */
export function openCeiling(simd, memory) {
  const module = new WebAssembly.Module(readFileSync(built(`ceiling-${simd}.wasm`)))
  const { exports } = new WebAssembly.Instance(module, { env: { memory } })
  let isWarm = false
  const flops = async (seconds) => {
    if (!isWarm) for (let i = 0; i < WARM_UP; i++) exports.multiplyAdds(2000, 0.9999, 0.5)
    isWarm = true
    return (ITERATIONS * CHAINS * 8) / (await secondsEach(() => void exports.multiplyAdds(ITERATIONS, 0.9999, 0.5), seconds))
  }
  return {
    /**
     * Seconds per call, and single-threaded floating-point operations per second in registers only. The two are measured
     * in turn, so that a slower machine affects both.
     */
    async beside(run, seconds) {
      const slices = Math.max(1, Math.round(seconds / SLICE))
      let spent = 0
      let possible = 0
      for (let i = 0; i < slices; i++) {
        spent += await secondsEach(run, SLICE)
        possible += await flops(SLICE / 2)
      }
      return { seconds: spent / slices, flops: possible / slices }
    },
    sum: exports.sum,
  }
}
