import { describe, RoutedAttentionError } from '../errors.js'
import { Checksum, CHECKSUM_BYTES, equalBytes } from './checksum.js'

/*
 * A saved session, little-endian:
 *
 *   8 bytes   "RTATTN" and the format's version, u16
 *   16 bytes  fingerprint of the model
 *   8 bytes   position, f64
 *   4 bytes   logits that follow (V, or 0 for a session that has read nothing), u32
 *   …         logits, f32
 *   …         the sequence, as its engine saves it
 *   16 bytes  checksum of all before it
 */
const MAGIC = Uint8Array.from('RTATTN', (letter) => letter.charCodeAt(0))
const VERSION = 1
const FINGERPRINT_AT = 8
const POSITION_AT = FINGERPRINT_AT + CHECKSUM_BYTES
const LOGITS_AT = POSITION_AT + 8
const HEADER_BYTES = LOGITS_AT + 4

/** What a saved session holds. */
export interface SavedSession {
  readonly position: number
  /** Logits after its last token; undefined when it has read none. */
  readonly logits: Float32Array | undefined
  readonly sequence: Uint8Array
}

export function encodeSession(fingerprint: Uint8Array, { position, logits, sequence }: SavedSession): Uint8Array {
  const logitBytes = logits ? new Uint8Array(logits.buffer, logits.byteOffset, logits.byteLength) : new Uint8Array(0)
  const bytes = new Uint8Array(HEADER_BYTES + logitBytes.length + sequence.length + CHECKSUM_BYTES)
  const view = new DataView(bytes.buffer)
  bytes.set(MAGIC)
  view.setUint16(MAGIC.length, VERSION, true)
  bytes.set(fingerprint, FINGERPRINT_AT)
  view.setFloat64(POSITION_AT, position, true)
  view.setUint32(LOGITS_AT, logits?.length ?? 0, true)
  bytes.set(logitBytes, HEADER_BYTES)
  bytes.set(sequence, HEADER_BYTES + logitBytes.length)
  const end = bytes.length - CHECKSUM_BYTES
  bytes.set(new Checksum().update(bytes.subarray(0, end)).digest(), end)
  return bytes
}

/** @throws RoutedAttentionError `BAD_FILE` for bytes that are damaged, cut, or of another model; `BAD_ARGUMENT` for anything but bytes */
export function decodeSession(bytes: Uint8Array, fingerprint: Uint8Array, numTokens: number): SavedSession {
  if (!(bytes instanceof Uint8Array))
    throw new RoutedAttentionError('BAD_ARGUMENT', `a saved session must be a Uint8Array, got ${describe(bytes)}`)
  const refuse = (why: string) =>
    new RoutedAttentionError('BAD_FILE', `these ${bytes.length} bytes are not a session of this model: ${why}`)
  if (bytes.length < HEADER_BYTES + CHECKSUM_BYTES) throw refuse(`a session has at least ${HEADER_BYTES + CHECKSUM_BYTES}`)
  // a copy of its own: aligned, and safe from the caller's later writes (a Node Buffer's `slice` is none)
  const copy = new Uint8Array(bytes)
  const view = new DataView(copy.buffer)
  if (!equalBytes(copy.subarray(0, MAGIC.length), MAGIC)) throw refuse('they do not begin as a saved session does')
  const version = view.getUint16(MAGIC.length, true)
  if (version !== VERSION) throw refuse(`they are of version ${version} of the format, this is version ${VERSION}`)
  const end = copy.length - CHECKSUM_BYTES
  if (!equalBytes(new Checksum().update(copy.subarray(0, end)).digest(), copy.subarray(end))) {
    throw refuse('their checksum does not fit: they were cut, altered or added to')
  }
  if (!equalBytes(copy.subarray(FINGERPRINT_AT, POSITION_AT), fingerprint)) throw refuse('they were saved from another model')
  const position = view.getFloat64(POSITION_AT, true)
  const count = view.getUint32(LOGITS_AT, true)
  const sequenceAt = HEADER_BYTES + count * 4
  if (!Number.isSafeInteger(position) || position < 0 || sequenceAt > end || count !== (position === 0 ? 0 : numTokens))
    throw refuse('their header contradicts itself')
  return {
    position,
    logits: count > 0 ? new Float32Array(copy.slice(HEADER_BYTES, sequenceAt).buffer) : undefined,
    sequence: copy.subarray(sequenceAt, end),
  }
}
