/*
 * Writes the models that the bench tab of examples/page runs, and prints where they are among served folders
 * (lib/served.mjs), as JSON.
 */
import { basename } from 'node:path'
import { writeBaseline } from './constant-memory/files.mjs'
import { float32Model } from './lib/float32-model.mjs'

const { f32, q8_0 } = writeBaseline('sliding window')
console.log(JSON.stringify({ float32: `built/${basename(await float32Model())}`, float16: 'model', slidingWindow: { f32, q8_0 } }))
