// @ts-check
/*
 * Language models over a sweep of positions, with a table of the results. Works in Node and in a page.
 */
import { inTurn } from './rounds.mjs'
import { count, median, medianRatio, significant, times } from './statistics.mjs'
import { table } from './tables.mjs'

/** Longer prompts are read once: reading them takes a dense transformer minutes. */
export const ONCE_FROM = 8192

/**
 * Warm-up rounds at the first position: engines recompile hot code, and in its first second Chromium runs ours at a
 * third of its speed.
 */
const WARM_UP = 2

/**
 * Of each model by name, its rounds: seconds of `prefill`, or seconds a token of `decode`.
 * @typedef {Map<string, number[]>} Rounds
 */
/** @typedef {'prefill' | 'decode'} Phase */
/** @typedef {{ position: number, prefill: Rounds, decode: Rounds }} Point */
/**
 * `last` is the longest prompt that one is given.
 * @typedef {{ name: string, last: number, runner: { call(method: string, ...args: any[]): Promise<any> } }} Entry
 */

/**
 * Times models in turn: prefill of a prompt of each length up to the first token, then decoding.
 * @param {readonly Entry[]} entries of openRunners
 * @param {readonly number[]} positions
 * @param {{ rounds: number, tokens: number, onRound?: (position: number, phase: Phase, rounds: Rounds) => void }} options
 * onRound: called after each round with all there are of that position and phase
 * @returns {Promise<Point[]>}
 */
export async function runSweep(entries, positions, { rounds, tokens, onRound = () => {} }) {
  await inTurn(entries, WARM_UP, async (runner) => {
    await runner.call('prefill', positions[0])
    await runner.call('decode', positions[0], tokens)
  })
  const points = []
  for (const position of positions) {
    const used = entries.filter(({ last }) => position <= last)
    /** @type {(results: number[][]) => Rounds} */
    const byName = (results) => new Map(used.map(({ name }, index) => [name, results[index] ?? []]))
    /** @type {(phase: Phase) => (results: number[][]) => void} */
    const tell = (phase) => (results) => onRound(position, phase, byName(results))
    const prefill = await inTurn(used, position >= ONCE_FROM ? 1 : rounds, (runner) => runner.call('prefill', position), tell('prefill'))
    await inTurn(used, 1, (runner) => runner.call('decode', position, 4))
    const decode = await inTurn(used, rounds, (runner) => runner.call('decode', position, tokens), tell('decode'))
    points.push({ position, prefill: byName(prefill), decode: byName(decode) })
  }
  return points
}

/**
 * Tokens a second.
 * @param {readonly Point[]} points
 * @param {Phase} what
 * @param {readonly { name: string }[]} models what was to be opened
 * @param {readonly (readonly [string, string])[]} ratios pairs of names: how many times as fast the first is as the second
 */
export function sweepTable(points, what, models, ratios) {
  const names = models.map(({ name }) => name)
  const rows = points.map(({ position, [what]: rounds }) => {
    const tokens = what === 'prefill' ? position : 1
    return [
      count(position),
      ...names.map((name) => {
        const seconds = rounds.get(name)
        return seconds && significant(tokens / median(seconds))
      }),
      ...ratios.map(([ours, theirs]) => {
        const [mine, other] = [rounds.get(ours), rounds.get(theirs)]
        return mine && other && times(medianRatio(other, mine))
      }),
    ]
  })
  return table(['position', ...names, ...ratios.map(([ours, theirs]) => `${ours} / ${theirs}`)], rows)
}
