import { describe, RoutedAttentionError } from '../../errors.js'
import { isUint8Array } from '../../realm.js'
import type { Head, Turn } from './record.js'

/*
 * A conversation as one file, little-endian:
 *
 *   8 bytes   "RTCONV" and the format's version, u16
 *   4 bytes   whether it is signed, 1 or 0, u32
 *   4 bytes   length of the log, u32
 *   4 bytes   length of the snapshot, u32; 0 for none
 *   …         the log: { head, turns } as record.ts has them, JSON in UTF-8
 *   …         the snapshot: a saved session of the conversation
 *   32 bytes  SHA-256 of all before it
 *   32 bytes  if it is signed: HMAC-SHA-256 of all before it, with a secret that servers share
 *
 * The digest detects damage; anyone can compute it. The signature says that a server of ours wrote the file: that its
 * snapshot is what reading its tokens gives.
 */
const MAGIC = Uint8Array.from('RTCONV', (letter) => letter.charCodeAt(0))
const VERSION = 1
const SIGNED_AT = MAGIC.length + 2
const LOG_LENGTH_AT = SIGNED_AT + 4
const SNAPSHOT_LENGTH_AT = LOG_LENGTH_AT + 4
const HEADER_BYTES = SNAPSHOT_LENGTH_AT + 4
const DIGEST_BYTES = 32

/** The media type of the file. */
export const CONVERSATION_TYPE = 'application/vnd.routed-attention.conversation'

/** What a file holds of a conversation. */
export interface ConversationFile {
  readonly head: Head
  readonly turns: readonly Turn[]
  /** A saved session that has read some or all of its tokens. */
  readonly snapshot?: Uint8Array | undefined
  /** Gives the snapshot's memory back: called by who needs it no longer. */
  readonly release?: (() => void) | undefined
}

/** What a file of a stranger's claims to hold: `checkConversation` makes a `ConversationFile` of it. */
export interface UncheckedConversation {
  readonly head: unknown
  readonly turns: unknown
  readonly snapshot?: Uint8Array | undefined
  /** Whether it was signed with the secret: its snapshot is what reading its tokens gives. */
  readonly isSigned: boolean
}

/**
 * Writes a conversation as a file.
 * @param secret signs it, so that servers with the same secret take its snapshot; without one it is not signed
 */
export async function encodeConversation({ head, turns, snapshot }: ConversationFile, secret?: string): Promise<Uint8Array<ArrayBuffer>> {
  const log = new TextEncoder().encode(JSON.stringify({ head, turns }))
  const snapshotLength = snapshot?.length ?? 0
  const end = HEADER_BYTES + log.length + snapshotLength
  const bytes = new Uint8Array(end + DIGEST_BYTES + (secret === undefined ? 0 : DIGEST_BYTES))
  const view = new DataView(bytes.buffer)
  bytes.set(MAGIC)
  view.setUint16(MAGIC.length, VERSION, true)
  view.setUint32(SIGNED_AT, secret === undefined ? 0 : 1, true)
  view.setUint32(LOG_LENGTH_AT, log.length, true)
  view.setUint32(SNAPSHOT_LENGTH_AT, snapshotLength, true)
  bytes.set(log, HEADER_BYTES)
  if (snapshot) bytes.set(snapshot, HEADER_BYTES + log.length)
  bytes.set(await digestOf(bytes.subarray(0, end)), end)
  const signedEnd = end + DIGEST_BYTES
  if (secret !== undefined)
    bytes.set(new Uint8Array(await crypto.subtle.sign('HMAC', await keyOf(secret), bytes.subarray(0, signedEnd))), signedEnd)
  return bytes
}

/**
 * Takes a file apart, whose bytes may be anybody's. What it holds is JSON, and no more than that is known of it.
 * @param bytes of no shared memory, which nobody changes; the snapshot is a view of them
 * @param secret against which a signature is checked
 * @throws RoutedAttentionError `BAD_FILE` if the bytes are damaged, truncated or something else; `BAD_ARGUMENT` for
 * anything but bytes
 */
export async function decodeConversation(bytes: Uint8Array<ArrayBuffer>, secret?: string): Promise<UncheckedConversation> {
  if (!isUint8Array(bytes)) throw new RoutedAttentionError('BAD_ARGUMENT', `a conversation must be a Uint8Array, got ${describe(bytes)}`)
  const own = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length)
  if (own.length < HEADER_BYTES + DIGEST_BYTES || !MAGIC.every((byte, at) => own[at] === byte))
    throw refusal(own, 'they do not begin as one does')
  const view = new DataView(own.buffer)
  const version = view.getUint16(MAGIC.length, true)
  if (version !== VERSION) throw refusal(own, `they are of version ${version} of the format, this is version ${VERSION}`)
  const signed = view.getUint32(SIGNED_AT, true)
  const logEnd = HEADER_BYTES + view.getUint32(LOG_LENGTH_AT, true)
  const end = logEnd + view.getUint32(SNAPSHOT_LENGTH_AT, true)
  const signedEnd = end + DIGEST_BYTES
  if (signed > 1 || own.length !== signedEnd + signed * DIGEST_BYTES)
    throw refusal(own, 'their header says that there are more or fewer: they were cut, altered or added to')
  const digest = await digestOf(own.subarray(0, end))
  if (!digest.every((byte, at) => own[end + at] === byte))
    throw refusal(own, 'their checksum does not fit: they were cut, altered or added to')
  const isSigned = signed === 1 && secret !== undefined && (await isSignedWith(secret, own, signedEnd))
  const { head, turns } = parseLog(own, logEnd)
  return { head, turns, snapshot: end === logEnd ? undefined : own.subarray(logEnd, end), isSigned }
}

function parseLog(bytes: Uint8Array, end: number): { head?: unknown; turns?: unknown } {
  try {
    const log: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(HEADER_BYTES, end)))
    if (typeof log === 'object' && log !== null) return log
  } catch {
    // the engine's message would quote the text
  }
  throw refusal(bytes, 'their log is no JSON object')
}

function refusal({ length }: Uint8Array, why: string): RoutedAttentionError {
  return new RoutedAttentionError('BAD_FILE', `these ${length} bytes are not a conversation: ${why}`)
}

async function digestOf(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
}

async function isSignedWith(secret: string, bytes: Uint8Array<ArrayBuffer>, end: number): Promise<boolean> {
  // takes the same time whichever bytes are wrong
  return crypto.subtle.verify('HMAC', await keyOf(secret), bytes.subarray(end), bytes.subarray(0, end))
}

function keyOf(secret: string): Promise<CryptoKey> {
  return crypto.subtle.importKey('raw', new TextEncoder().encode(secret), { name: 'HMAC', hash: 'SHA-256' }, false, ['sign', 'verify'])
}
