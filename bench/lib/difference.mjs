// @ts-check
/* Works in Node and in a page. */

/**
 * Compares two outputs.
 * @param {Float32Array} output
 * @param {Float32Array} reference
 * @param {number} tolerance largest difference, relative to the reference's largest value
 * @returns {{ difference: number, largest: number, agrees: boolean }} the largest difference, the reference's largest
 * value, and whether they computed the same; not if one of them has a NaN
 */
export function compareOutputs(output, reference, tolerance) {
  const largest = reference.reduce((max, value) => Math.max(max, Math.abs(value)), 0)
  let difference = output.length === reference.length ? 0 : NaN
  for (const [i, value] of reference.entries()) difference = Math.max(difference, Math.abs((output[i] ?? NaN) - value))
  // written so that a NaN fails
  return { difference, largest, agrees: difference <= tolerance * largest }
}
