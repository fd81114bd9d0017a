/**
 * What the tests draw. The same commit draws the same, so that a test that fails fails again; other values of TEST_SEED
 * look elsewhere, and PROPERTY_RUNS (a factor) further.
 */
const { TEST_SEED = '1', PROPERTY_RUNS = '1' } = process.env

export const testSeed = Number(TEST_SEED)

/** Runs of one property of fast-check. */
export function runs(numRuns: number): { numRuns: number; seed: number } {
  return { numRuns: Math.round(numRuns * Number(PROPERTY_RUNS)), seed: testSeed }
}
