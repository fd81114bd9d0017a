/* tfjs on its WebAssembly backend: one product. */
import { writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import { uniform } from '../lib/recipe.mjs'
import { serve } from '../lib/serve.mjs'
import { secondsEach } from '../lib/timing.mjs'

const require = createRequire(import.meta.url)
const tf = require('@tensorflow/tfjs-core')
const wasm = require('@tensorflow/tfjs-backend-wasm')

let run

serve({
  async open() {
    wasm.setThreadsCount(1)
    wasm.setWasmPaths(`${dirname(require.resolve('@tensorflow/tfjs-backend-wasm'))}/`)
    if (!(await tf.setBackend('wasm'))) throw new Error('the wasm backend does not start')
    await tf.ready()
    return { threads: 1, simd: await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT') }
  },
  async prepare(m, k, n, output) {
    const x = tf.tensor2d(uniform(m * k, 1), [m, k])
    const b = tf.tensor2d(uniform(k * n, 2), [k, n])
    run = () => tf.matMul(x, b).dispose()
    const y = tf.matMul(x, b)
    if (output) writeFileSync(output, y.dataSync())
    y.dispose()
  },
  time: (seconds) => secondsEach(run, seconds),
})
