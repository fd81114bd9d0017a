/** Number of names examined to find a prefix; an untrusted state dict may have a hundred thousand. */
const SAMPLE = 256

/**
 * The prefix that a wrapper has added to the parameters' names, such as `net.`, `module.` or `_orig_mod.`: the one
 * whose removal turns the most names into parameters' names; of equally good ones, the shortest.
 * @param known names of the parameters
 * @param names names in a state dict
 * @returns '' if there is no prefix, or no name ends in a parameter's
 */
export function likelyPrefix(known: ReadonlySet<string>, names: readonly string[]): string {
  const lengths = [...new Set([...known].map(({ length }) => length))]
  const counts = new Map<string, number>()
  const step = Math.max(1, names.length / SAMPLE)
  for (let at = 0; at < names.length; at += step) {
    const name = names[Math.floor(at)]!
    for (const length of lengths) {
      if (name.length < length || !known.has(name.slice(name.length - length))) continue
      const prefix = name.slice(0, name.length - length)
      counts.set(prefix, (counts.get(prefix) ?? 0) + 1)
    }
  }
  let best = ''
  for (const [prefix, count] of counts) {
    const most = counts.get(best) ?? 0
    if (count > most || (count === most && prefix.length < best.length)) best = prefix
  }
  return best
}
