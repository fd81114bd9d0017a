import { renameSync } from 'node:fs'
import { writeGguf } from '../lib/gguf.mjs'
import { built } from '../lib/paths.mjs'
import { models } from './models.mjs'

/** Name of a baseline's file. */
const fileOf = (name, format) => `${name.toLowerCase().replace(/\W+/g, '-')}-${format}.gguf`

/** Writes the files of a baseline in both formats; @returns their names */
export function writeBaseline(name) {
  return Object.fromEntries(
    ['f32', 'q8_0'].map((format) => {
      const file = fileOf(name, format)
      const partial = built(`${file}.${process.pid}`)
      writeGguf(partial, { ...models[name], tensors: models[name].tensors() }, format)
      // at once: another process may be reading it
      renameSync(partial, built(file))
      return [format, file]
    }),
  )
}
