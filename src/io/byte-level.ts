/**
 * The 256 characters that byte-level BPE writes bytes as, by byte: printable characters of Latin-1 stand for themselves,
 * the others for characters from U+0100 on, in order.
 */
const BYTE_OF = new Map<string, number>()
for (let byte = 0, shifted = 0x100; byte < 0x100; byte++) {
  const isPrintable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad)
  BYTE_OF.set(String.fromCharCode(isPrintable ? byte : shifted++), byte)
}

/** The bytes that a token of a byte-level vocabulary stands for; one with other characters in it stands for its own UTF-8. */
export function bytesOfToken(token: string): Uint8Array {
  const bytes = new Uint8Array(token.length)
  for (let i = 0; i < token.length; i++) {
    const byte = BYTE_OF.get(token[i]!)
    if (byte === undefined) return new TextEncoder().encode(token)
    bytes[i] = byte
  }
  return bytes
}
