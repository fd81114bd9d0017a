import type { Tokenizer } from 'routed-attention'

const encoder = new TextEncoder()

/**
 * The bytes of the tokens that are parts of characters, as far as they can be told: a tokenizer decodes such a token to
 * U+FFFD alone. Characters with every byte that UTF-8 has are encoded; where a character comes apart into as many tokens
 * as it has bytes, or into one unknown token among known ones, it is clear which is which.
 */
export function byteTokens(tokenizer: Tokenizer): Map<number, Uint8Array> {
  const anchor = tokenizer.encode('a')
  const known = new Map<number, Uint8Array>()
  const encoded = probes().map((text) => ({ bytes: encoder.encode(text), ids: partsOf(tokenizer, anchor, text) }))
  for (const { bytes, ids } of encoded) if (ids.length === bytes.length) ids.forEach((id, i) => known.set(id, bytes.subarray(i, i + 1)))
  for (const { bytes, ids } of encoded) {
    const unknown = ids.filter((id) => !known.has(id))
    if (ids.length < 2 || unknown.length !== 1) continue
    const at = ids.indexOf(unknown[0]!)
    const length = (parts: readonly number[]): number => parts.reduce((sum, id) => sum + known.get(id)!.length, 0)
    const rest = bytes.subarray(length(ids.slice(0, at)), bytes.length - length(ids.slice(at + 1)))
    if (rest.length > 0) known.set(unknown[0]!, rest)
  }
  return known
}

/** The tokens of a character; none if the tokenizer puts another one in its place. */
function partsOf(tokenizer: Tokenizer, anchor: readonly number[], text: string): number[] {
  const ids = tokenizer.encode(`a${text}`, { allowSpecial: false })
  const isApart = anchor.every((id, i) => ids[i] === id) && tokenizer.decode(ids) === `${tokenizer.decode(anchor)}${text}`
  return isApart ? ids.slice(anchor.length) : []
}

/** Characters in which each first byte and each continuation byte occurs, some of them rare: these come apart. */
function probes(): string[] {
  const points: number[] = []
  for (let point = 0x80; point < 0x800; point += 0x15) points.push(point)
  for (let point = 0x800; point < 0xd800; point += 0x1d1) points.push(point)
  for (let last = 0; last < 64; last++) points.push(0x2000 + last, 0x1f600 + last, 0x700 + last)
  for (let point = 0xe000; point < 0x10_ffff; point += 0x3_f3d7) points.push(point)
  points.push(0xff21)
  for (let lead = 0xc2; lead < 0xe0; lead++) points.push((lead & 0x1f) << 6)
  return points.map((point) => String.fromCodePoint(point))
}
