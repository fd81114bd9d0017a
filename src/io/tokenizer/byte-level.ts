/**
 * The 256 characters that represent bytes in byte-level BPE, by byte: printable Latin-1 characters represent
 * themselves, other bytes use the characters from U+0100 on, in order.
 */
function alphabet(): Uint16Array {
  const characters = new Uint16Array(256)
  for (let byte = 0, shifted = 0x100; byte < 0x100; byte++) {
    const isPrintable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad)
    characters[byte] = isPrintable ? byte : shifted++
  }
  return characters
}

interface ByteTables {
  readonly characters: Uint16Array
  readonly bytes: ReadonlyMap<number, number>
}
let tables: ByteTables | undefined

function byteTables(): ByteTables {
  if (tables === undefined) {
    const characters = alphabet()
    tables = { characters, bytes: new Map(Array.from(characters, (character, byte) => [character, byte])) }
  }
  return tables
}

/** Maximum arguments per call, since they are put on the stack. */
const CALL = 4096

/** Converts a text's UTF-8 bytes to characters. */
export function textToByteCharacters(text: string): string {
  return text.replace(/[^!-~]+/g, (run) => {
    const { characters } = byteTables()
    if (run.length === 1 && run < '\x80') return String.fromCharCode(characters[run.charCodeAt(0)]!)
    const bytes = new TextEncoder().encode(run)
    const units = new Uint16Array(bytes.length)
    for (let i = 0; i < bytes.length; i++) units[i] = characters[bytes[i]!]!
    let written = ''
    for (let start = 0; start < units.length; start += CALL) written += String.fromCharCode(...units.subarray(start, start + CALL))
    return written
  })
}

/**
 * The bytes represented by a token of a byte-level vocabulary; a token with other characters represents its own UTF-8.
 */
export function bytesOfToken(token: string): Uint8Array {
  const bytes = new Uint8Array(token.length)
  for (let i = 0; i < token.length; i++) {
    const byte = byteTables().bytes.get(token.charCodeAt(i))
    if (byte === undefined) return new TextEncoder().encode(token)
    bytes[i] = byte
  }
  return bytes
}
