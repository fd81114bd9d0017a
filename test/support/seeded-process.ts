/** Processes that tests start draw from TEST_SEED, too, where nothing gives them a seed. */
import { testSeed } from './seed.js'

/** Mulberry32 in place of `Math.random`. */
const script = `
let state = ${testSeed} >>> 0
Math.random = () => {
  state = (state + 0x6d2b79f5) >>> 0
  let z = Math.imul(state ^ (state >>> 15), state | 1)
  z ^= z + Math.imul(z ^ (z >>> 7), z | 61)
  return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32
}`

/** Arguments for Node. */
export const seeded: readonly string[] = ['--import', `data:text/javascript,${encodeURIComponent(script)}`]
