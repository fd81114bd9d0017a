// @ts-check
/* Works in Node and in a page. */

/**
 * Lets all runners do the same work in turn, round after round.
 * @template {{ runner: any }} Entry
 * @template Result
 * @param {readonly Entry[]} entries
 * @param {number} rounds
 * @param {(runner: Entry['runner'], entry: Entry) => Promise<Result>} work
 * @param {(results: Result[][]) => void} [onRound] given all results so far, after each round
 * @returns {Promise<Result[][]>} for each runner, in order, its result in every round
 */
export async function inTurn(entries, rounds, work, onRound = () => {}) {
  /** @type {Result[][]} */
  const results = entries.map(() => [])
  for (let round = 0; round < rounds; round++) {
    for (const [index, entry] of entries.entries()) results[index]?.push(await work(entry.runner, entry))
    onRound(results)
  }
  return results
}
