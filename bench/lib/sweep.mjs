/*
 * Language models over a sweep of positions, with a table of the results.
 */
import { inTurn } from './runner.mjs'
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
 * Times models in turn: prefill of a prompt of each length up to the first token, then decoding.
 * @param entries of openRunners; `last` is the longest prompt that one is given
 * @returns for each position, the rounds of each model by name: seconds of `prefill`, and seconds a token of `decode`
 */
export async function runSweep(entries, positions, { rounds, tokens }) {
  await inTurn(entries, WARM_UP, async (runner) => {
    await runner.call('prefill', positions[0])
    await runner.call('decode', positions[0], tokens)
  })
  const points = []
  for (const position of positions) {
    const used = entries.filter(({ last }) => position <= last)
    const byName = (rows) => new Map(rows.map((seconds, index) => [used[index].name, seconds]))
    const prefill = await inTurn(used, position >= ONCE_FROM ? 1 : rounds, (runner) => runner.call('prefill', position))
    await inTurn(used, 1, (runner) => runner.call('decode', position, 4))
    const decode = await inTurn(used, rounds, (runner) => runner.call('decode', position, tokens))
    points.push({ position, prefill: byName(prefill), decode: byName(decode) })
  }
  return points
}

/**
 * Tokens a second.
 * @param what 'prefill' or 'decode'
 * @param models what was to be opened
 * @param ratios pairs of names: how many times as fast the first is as the second
 */
export function sweepTable(points, what, models, ratios) {
  const names = models.map(({ name }) => name)
  const rows = points.map(({ position, [what]: seconds }) => {
    const tokens = what === 'prefill' ? position : 1
    return [
      count(position),
      ...names.map((name) => (seconds.has(name) ? significant(tokens / median(seconds.get(name))) : undefined)),
      ...ratios.map(([ours, theirs]) =>
        seconds.has(ours) && seconds.has(theirs) ? times(medianRatio(seconds.get(theirs), seconds.get(ours))) : undefined,
      ),
    ]
  })
  return table(['position', ...names, ...ratios.map(([ours, theirs]) => `${ours} / ${theirs}`)], rows)
}
