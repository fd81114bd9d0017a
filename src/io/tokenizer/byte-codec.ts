import type { Codec, Encoding } from './codec.js'
import { decodeBytes } from './decoders.js'

const NOTHING = new Uint8Array(0)

/** Token ids are UTF-8 bytes. There are no special tokens. */
export class ByteCodec implements Codec {
  constructor(readonly size: number) {}

  begin(ids: number[]): Encoding {
    return {
      push(text) {
        for (const byte of new TextEncoder().encode(text)) ids.push(byte)
      },
    }
  }

  decode(ids: readonly number[]): string {
    return decodeBytes([Uint8Array.from(ids.filter((id) => id < 256))])
  }

  bytesOf(id: number): Uint8Array {
    return id < 256 ? Uint8Array.of(id) : NOTHING
  }

  isNamed(id: number): boolean {
    return id < 256
  }

  /** Invalid bytes are reported individually. */
  isByteToken(): boolean {
    return false
  }
}
