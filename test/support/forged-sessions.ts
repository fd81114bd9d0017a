/** Sessions that say something else than they were saved with, under a checksum that fits. */
import { parseModelConfig } from '../../src/model/config/config.js'
import { decodeSession, encodeSession, type SavedSession } from '../../src/model/session-bytes.js'
import { positionCount } from '../../src/plan/memory/saved-state.js'

type Config = Readonly<Record<string, unknown>> & { readonly num_tokens: number }

const fingerprintOf = (saved: Uint8Array) => saved.slice(8, 24)

/** What a session holds. */
export function openSession(saved: Uint8Array, { num_tokens: numTokens }: Config): SavedSession {
  return decodeSession(saved, { fingerprint: fingerprintOf(saved), numTokens, maxPositions: null })
}

/** `saved` with some parts of its own choosing. */
export function forge(saved: Uint8Array, config: Config, forged: Partial<SavedSession>): Uint8Array {
  return encode(fingerprintOf(saved), { ...openSession(saved, config), ...forged })
}

/** A session that holds this, whatever it is. */
export function encode(fingerprint: Uint8Array, saved: SavedSession): Uint8Array {
  return encodeSession(fingerprint, saved, (before = 0, after = 0) => {
    const bytes = new Uint8Array(before + saved.sequence.length + after)
    bytes.set(saved.sequence, before)
    return bytes
  })
}

/** Bytes at the front of a causal session's state that hold positions; floats are behind them. */
export function positionBytes(saved: Uint8Array, config: Config): number {
  return 8 * positionCount(parseModelConfig({ ...config }), openSession(saved, config).position)
}

/** A causal session, with other positions of what its contexts hold. */
export function forgePositions(saved: Uint8Array, config: Config, change: (position: number, index: number) => number): Uint8Array {
  const sequence = openSession(saved, config).sequence.slice()
  const positions = new Float64Array(sequence.buffer, 0, positionBytes(saved, config) / 8)
  positions.forEach((position, i) => (positions[i] = change(position, i)))
  return forge(saved, config, { sequence })
}

/** A causal session as if `positions` more tokens, whole windows of them, had come before all that it holds. */
export function moveOn(saved: Uint8Array, config: Config, positions: number): Uint8Array {
  const { position } = openSession(saved, config)
  const moved = forgePositions(saved, config, (each) => each + positions)
  return forge(moved, config, { position: position + positions })
}
