import { describe, RoutedAttentionError } from '../errors.js'
import { isArrayBuffer, isUint8Array } from '../realm.js'
import { Checksum, CHECKSUM_BYTES, equalBytes } from './parameters/checksum.js'
import { recentCount } from './generation/recent-ids.js'
import type { Sequence } from './executor/sequence.js'

/*
 * A saved session, little-endian:
 *
 *   8 bytes   "RTATTN" and the format's version, u16
 *   16 bytes  fingerprint of the model
 *   8 bytes   position, f64
 *   4 bytes   logits that follow (V, or 0 for a session that has read nothing), u32
 *   …         logits, f32
 *   …         the last ids, min(16, position) of them, oldest first, i32
 *   …         the sequence, as its executor saves it (plan/memory/saved-state.ts, or all ids)
 *   16 bytes  checksum of all before it
 */
const MAGIC = Uint8Array.from('RTATTN', (letter) => letter.charCodeAt(0))
const VERSION = 3
const FINGERPRINT_AT = 8
const POSITION_AT = FINGERPRINT_AT + CHECKSUM_BYTES
const LOGITS_AT = POSITION_AT + 8
const HEADER_BYTES = LOGITS_AT + 4

/** The decoded contents of a saved session. */
export interface SavedSession {
  readonly position: number
  /** Logits after its last token; undefined if it has read none. */
  readonly logits: Float32Array | undefined
  /** Its last ids, oldest first: `recentCount(position)` of them. */
  readonly recentIds: Int32Array
  readonly sequence: Uint8Array
}

/** @param saveSequence gives the sequence between bytes that are free, so that a megabyte is copied once */
export function encodeSession(
  fingerprint: Uint8Array,
  { position, logits, recentIds }: Omit<SavedSession, 'sequence'>,
  saveSequence: Sequence['save'],
): Uint8Array<ArrayBuffer> {
  const parts = [...(logits ? [bytesOf(logits)] : []), bytesOf(recentIds)]
  const bytes = saveSequence(
    parts.reduce((sum, part) => sum + part.length, HEADER_BYTES),
    CHECKSUM_BYTES,
  )
  const view = new DataView(bytes.buffer)
  bytes.set(MAGIC)
  view.setUint16(MAGIC.length, VERSION, true)
  bytes.set(fingerprint, FINGERPRINT_AT)
  view.setFloat64(POSITION_AT, position, true)
  view.setUint32(LOGITS_AT, logits?.length ?? 0, true)
  let end = HEADER_BYTES
  for (const part of parts) {
    bytes.set(part, end)
    end += part.length
  }
  const checksumAt = bytes.length - CHECKSUM_BYTES
  bytes.set(new Checksum().update(bytes.subarray(0, checksumAt)).digest(), checksumAt)
  return bytes
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength)
}

/** The model that saved bytes are checked against. */
export interface SessionModel {
  readonly fingerprint: Uint8Array
  readonly numTokens: number
  readonly maxPositions: number | null
}

/**
 * The bytes are untrusted: anyone who has the model can compute a valid checksum. The result is consistent with the
 * model, except for the sequence itself, which its executor checks; it may be a view of the bytes.
 * @throws RoutedAttentionError `BAD_FILE` if the bytes are damaged, truncated or belong to another model;
 * `BAD_ARGUMENT` for anything but bytes
 */
export function decodeSession(bytes: Uint8Array, { fingerprint, numTokens, maxPositions }: SessionModel): SavedSession {
  if (!isUint8Array(bytes)) throw new RoutedAttentionError('BAD_ARGUMENT', `a saved session must be a Uint8Array, got ${describe(bytes)}`)
  const refuse = (why: string) =>
    new RoutedAttentionError('BAD_FILE', `these ${bytes.length} bytes are not a session of this model: ${why}`)
  if (bytes.length < HEADER_BYTES + CHECKSUM_BYTES) throw refuse(`a session has at least ${HEADER_BYTES + CHECKSUM_BYTES}`)
  const own = inPlace(bytes)
  const view = new DataView(own.buffer, own.byteOffset)
  if (!equalBytes(own.subarray(0, MAGIC.length), MAGIC)) throw refuse('they do not begin as a saved session does')
  const version = view.getUint16(MAGIC.length, true)
  if (version !== VERSION) throw refuse(`they are of version ${version} of the format, this is version ${VERSION}`)
  const end = own.length - CHECKSUM_BYTES
  if (!equalBytes(new Checksum().update(own.subarray(0, end)).digest(), own.subarray(end))) {
    throw refuse('their checksum does not fit: they were cut, altered or added to')
  }
  if (!equalBytes(own.subarray(FINGERPRINT_AT, POSITION_AT), fingerprint)) throw refuse('they were saved from another model')
  const position = view.getFloat64(POSITION_AT, true)
  const count = view.getUint32(LOGITS_AT, true)
  const idsAt = HEADER_BYTES + count * 4
  const sequenceAt = idsAt + recentCount(position) * 4
  const isPosition = Number.isSafeInteger(position) && position >= 0
  if (isPosition && maxPositions !== null && position > maxPositions)
    throw refuse(`their position is ${position}, and it has ${maxPositions} (max_positions)`)
  if (!isPosition || sequenceAt > end || count !== (position === 0 ? 0 : numTokens)) throw refuse('their header contradicts itself')
  const recentIds = new Int32Array(own.slice(idsAt, sequenceAt).buffer)
  if (!recentIds.every((id) => id >= 0 && id < numTokens)) throw refuse(`its last tokens are not all from 0 to ${numTokens - 1}`)
  return {
    position,
    logits: count > 0 ? new Float32Array(own.slice(HEADER_BYTES, idsAt).buffer) : undefined,
    recentIds,
    sequence: own.subarray(sequenceAt, end),
  }
}

/** The bytes, aligned to 4, as nobody else can change them before this call returns: only those of shared memory are copied. */
function inPlace(bytes: Uint8Array): Uint8Array {
  const { buffer, byteOffset, byteLength } = bytes
  const isUsable = isArrayBuffer(buffer) && byteOffset % 4 === 0
  // `slice` of a Node Buffer would not copy
  return isUsable ? new Uint8Array(buffer, byteOffset, byteLength) : new Uint8Array(bytes)
}
