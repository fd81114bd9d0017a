/** One tensor to write: `bytes` must be as long as dtype and shape say, unless a test wants it broken. */
export interface Entry {
  dtype: string
  shape: number[]
  bytes: Uint8Array
}

/** A safetensors file of float32 and other tensors, in the order given. */
export function writeSafetensors(entries: Record<string, Entry>, metadata?: Record<string, string>): Uint8Array {
  const header: Record<string, unknown> = metadata === undefined ? {} : { __metadata__: metadata }
  const parts: Uint8Array[] = []
  let offset = 0
  for (const [name, { dtype, shape, bytes }] of Object.entries(entries)) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + bytes.length] }
    offset += bytes.length
    parts.push(bytes)
  }
  return safetensorsOf(JSON.stringify(header), ...parts)
}

/** A file with this header, valid or not, and this body. */
export function safetensorsOf(header: string | Uint8Array, ...body: Uint8Array[]): Uint8Array {
  const headerBytes = typeof header === 'string' ? new TextEncoder().encode(header) : header
  const length = new Uint8Array(8)
  new DataView(length.buffer).setBigUint64(0, BigInt(headerBytes.length), true)
  return new Uint8Array(Buffer.concat([length, headerBytes, ...body]))
}

/** A float32 tensor as an entry. */
export function float32Entry(values: readonly number[], shape: number[] = [values.length]): Entry {
  return { dtype: 'F32', shape, bytes: new Uint8Array(Float32Array.from(values).buffer) }
}
