import type { StoredTensor } from './safetensors.js'

/** The header's length is a multiple of this, so that tensors of 8 bytes are aligned. */
const ALIGNMENT = 8
const LENGTH_BYTES = 8

/**
 * Writes a safetensors file, its tensors in the map's order.
 * @returns the file's bytes
 */
export function writeSafetensors(tensors: ReadonlyMap<string, StoredTensor>, metadata: Readonly<Record<string, string>> = {}): Uint8Array {
  const header: Record<string, unknown> = { __metadata__: metadata }
  let bodyBytes = 0
  for (const [name, { dtype, shape, bytes }] of tensors) {
    header[name] = { dtype, shape, data_offsets: [bodyBytes, bodyBytes + bytes.length] }
    bodyBytes += bytes.length
  }
  const text = new TextEncoder().encode(JSON.stringify(header))
  const headerBytes = Math.ceil(text.length / ALIGNMENT) * ALIGNMENT
  const file = new Uint8Array(LENGTH_BYTES + headerBytes + bodyBytes)
  new DataView(file.buffer).setBigUint64(0, BigInt(headerBytes), true)
  file.fill(0x20, LENGTH_BYTES, LENGTH_BYTES + headerBytes).set(text, LENGTH_BYTES)
  let at = LENGTH_BYTES + headerBytes
  for (const { bytes } of tensors.values()) {
    file.set(bytes, at)
    at += bytes.length
  }
  return file
}
