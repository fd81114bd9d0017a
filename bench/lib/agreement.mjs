import { readFileSync, rmSync } from 'node:fs'
import { compareOutputs } from './difference.mjs'
import { built } from './paths.mjs'

/** The file for a runner's output. */
export const outputFile = (index) => built(`output-${index}.bin`)

/**
 * Compares the runners' outputs with the first one's, and removes the files.
 * @param tolerance largest difference, relative to the largest value
 * @throws if one of them computed something else, which makes its time meaningless
 */
export function assertAgreement(what, names, tolerance) {
  const outputs = names.map((_, index) => {
    const bytes = readFileSync(outputFile(index))
    rmSync(outputFile(index))
    return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
  })
  const [reference] = outputs
  let worst = 0
  for (const [index, output] of outputs.entries()) {
    if (output.length !== reference.length)
      throw new Error(`${what}: ${names[index]} has ${output.length} values, ${names[0]} ${reference.length}`)
    const { difference, largest, agrees } = compareOutputs(output, reference, tolerance)
    if (!agrees)
      throw new Error(`${what}: ${names[index]} differs from ${names[0]} by ${difference}, where the largest value is ${largest}`)
    worst = Math.max(worst, difference)
  }
  return worst
}
